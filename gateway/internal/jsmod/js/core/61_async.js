// Operations that a task begins and Go finishes: fetch, exec, timers. Each has a number;
// its end comes back in a turn of its own.
const operations = ownMap(); // id -> { zone, deferred | callback }
let lastOperation = 0;

function needTask(name) {
  if (!inTask() || (zone === null && turnNo === 0)) {
    throw coded('ONLY_IN_TASK', `${name}: only inside ctx.task; move the call into a task body, whose result is stored and not computed again`);
  }
}

function attemptRef() {
  return zone === null || zone.attempt === null ? 0 : zone.attempt.ref;
}

function attemptNumber() {
  return zone === null || zone.attempt === null ? 0 : zone.attempt.number;
}

// operation starts a host operation and returns its number and promise.
function operation(name, json) {
  needTask(name);
  lastOperation += 1;
  const id = lastOperation;
  const d = deferred();
  operations.set(id, { zone, deferred: d, callback: undefined, repeat: false });
  host(name, id, attemptRef(), attemptNumber(), json);
  return plain({ id, promise: d.promise });
}

function startTimer(name, callback, delay, repeat, args) {
  needTask(name);
  if (typeof callback !== 'function') throw new NativeTypeError(`${name} needs a function, got ${kindOf(callback)}`);
  lastOperation += 1;
  const id = lastOperation;
  let ms = +delay;
  if (!(ms > 0)) ms = 0;
  if (ms > 2147483647) ms = 2147483647;
  operations.set(id, { zone, deferred: undefined, callback: () => apply(callback, undefined, args), repeat });
  host('timer', id, repeat ? floor(ms) || 1 : floor(ms), repeat);
  return id;
}

// stopOperation clears a timer, or (cancel) ends an operation, whose promise then
// rejects.
function stopOperation(id, cancel) {
  if (!operations.has(id)) return;
  if (cancel !== true) operations.delete(id);
  host('stop', id);
}

function finishOperation(id, ok, json) {
  const o = operations.get(id);
  if (o === undefined) return;
  if (!o.repeat) operations.delete(id);
  if (o.callback !== undefined) {
    try {
      inZone(o.zone, o.callback, undefined, []);
    } catch (error) {
      reportUncaught(error);
    }
    return;
  }
  if (ok) o.deferred.resolve(parse(json));
  else o.deferred.reject(parseFailure(json));
}
