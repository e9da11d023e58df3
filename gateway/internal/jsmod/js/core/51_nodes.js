// The node-making calls of ctx: task, approval, signal, sleep, run.
const approvalOptions = plain({
  title: 'text', summary: 'text', mode: 'text', options: 'any', metadata: 'any', allowedUsers: 'texts', allowedScopes: 'texts',
  autoApprove: 'any', onDeny: 'text', timeoutMs: 'ms', label: 'text',
});
const taskOptions = plain({
  label: 'text', retries: 'count', backoffMs: 'ms', backoffFactor: 'factor', maxBackoffMs: 'ms', timeoutMs: 'ms',
  heartbeatTimeoutMs: 'ms', continueOnFail: 'flag', skip: 'flag', needsApproval: 'any', output: 'object', sideEffect: 'any',
});
const sideEffectOptions = plain({ name: 'name', idempotent: 'flag' });
const signalOptions = plain({ id: 'name', label: 'text', correlationId: 'any', timeoutMs: 'ms', schema: 'object' });
const sleepOptions = plain({ label: 'text' });
const runOptions = plain({ id: 'name', label: 'text' });

function wholeMs(o, names) {
  for (let i = 0; i < names.length; i++) if (o[names[i]] !== undefined) o[names[i]] = floor(o[names[i]]);
}

function oneOf(call, name, value, allowed) {
  if (value !== undefined && !includes(allowed, value)) {
    throw bad(call, `option ${name} must be one of ${join(allowed, ', ')}, got ${kindOf(value)}`);
  }
}

function approvalRequest(call, value) {
  const o = options(call, value, approvalOptions);
  oneOf(call, 'mode', o.mode, ['decision', 'select', 'rank']);
  oneOf(call, 'onDeny', o.onDeny, ['continue', 'fail']);
  wholeMs(o, ['timeoutMs']);
  if (o.autoApprove !== undefined && typeof o.autoApprove !== 'boolean' && !isPlainObject(o.autoApprove)) {
    throw bad(call, `option autoApprove must be true, false or an object, got ${kindOf(o.autoApprove)}`);
  }
  if (o.options !== undefined) o.options = approvalChoices(call, o.options);
  if ((o.mode === 'select' || o.mode === 'rank') && (o.options === undefined || o.options.length === 0)) {
    throw bad(call, `option options must list the choices when mode is ${stringify(o.mode)}, for example [{ key: "eu", label: "Europe" }]`);
  }
  return o;
}

function approvalChoices(call, list) {
  if (!isArray(list)) throw bad(call, `option options must be an array, got ${kindOf(list)}`);
  const out = [];
  const seen = ownMap();
  for (let i = 0; i < list.length; i++) {
    let item = list[i];
    if (typeof item === 'string') item = { key: item, label: item };
    if (!isPlainObject(item)) throw bad(call, `options[${i}] must be a string or { key, label }, got ${kindOf(item)}`);
    const key = needString(call, `options[${i}].key`, item.key);
    if (seen.has(key)) throw bad(call, `options[${i}].key ${stringify(key)} is used twice`);
    seen.set(key, true);
    const choice = plain({ key, label: item.label === undefined ? key : needString(call, `options[${i}].label`, item.label, 4096) });
    if (item.summary !== undefined) choice.summary = needString(call, `options[${i}].summary`, item.summary, 65536);
    push(out, choice);
  }
  return setPrototypeOf(out, null) && out;
}

function task(id, body, opts) {
  assertWorkflow('ctx.task');
  if (opts === undefined && typeof id === 'string' && id !== '' && id.length <= 256 && typeof body === 'function') {
    return request('ctx.task', id, 'task', id, '', undefined, body, undefined);
  }
  const call = callOf('ctx.task', id);
  needString(call, 'id (1st argument)', id);
  needFunction(call, 'body (2nd argument)', body);
  const o = options(call, opts, taskOptions);
  wholeMs(o, ['backoffMs', 'maxBackoffMs', 'timeoutMs', 'heartbeatTimeoutMs']);
  const label = o.label === undefined ? '' : o.label;
  delete o.label;
  if (o.needsApproval === true) o.needsApproval = plain({});
  else if (o.needsApproval === false) delete o.needsApproval;
  else if (o.needsApproval !== undefined) o.needsApproval = approvalRequest(`${call} needsApproval`, o.needsApproval);
  if (o.sideEffect === true) o.sideEffect = plain({});
  else if (o.sideEffect === false) delete o.sideEffect;
  else if (o.sideEffect !== undefined) {
    if (!isPlainObject(o.sideEffect)) throw bad(call, `option sideEffect must be true, false or { name, idempotent }, got ${kindOf(o.sideEffect)}`);
    o.sideEffect = options(`${call} sideEffect`, o.sideEffect, sideEffectOptions);
  }
  const tolerant = o.continueOnFail === true;
  const mapError = tolerant ? (d, error) => (error.code === 'CANCELLED' ? d.reject(error) : d.resolve(undefined)) : undefined;
  return request('ctx.task', id, 'task', id, label, o, body, mapError);
}

function approval(id, opts) {
  const call = callOf('ctx.approval', id);
  assertWorkflow('ctx.approval');
  needString(call, 'id (1st argument)', id);
  const o = approvalRequest(call, opts);
  const label = o.label === undefined ? '' : o.label;
  delete o.label;
  return request('ctx.approval', id, 'approval', id, label, o);
}

function signal(name, opts) {
  const call = callOf('ctx.signal', name);
  assertWorkflow('ctx.signal');
  needString(call, 'name (1st argument)', name);
  const o = options(call, opts, signalOptions);
  wholeMs(o, ['timeoutMs']);
  if (o.correlationId === null) delete o.correlationId;
  if (o.correlationId !== undefined) {
    if (typeof o.correlationId === 'number') o.correlationId = toText(o.correlationId);
    needString(call, 'option correlationId', o.correlationId);
  }
  const id = o.id === undefined ? name : o.id;
  const label = o.label === undefined ? '' : o.label;
  delete o.id;
  delete o.label;
  o.name = name;
  return request('ctx.signal', name, 'signal', id, label, o);
}

function sleep(id, time, opts) {
  const call = callOf('ctx.sleep', id);
  assertWorkflow('ctx.sleep');
  needString(call, 'id (1st argument)', id);
  if (time === undefined) throw bad(call, 'the duration (2nd argument) is missing; write ctx.sleep("cool-off", "5m")');
  const ms = duration(call, 'duration (2nd argument)', time);
  const o = options(call, opts, sleepOptions);
  return request('ctx.sleep', id, 'timer', id, o.label || '', plain({ durationMs: ms }));
}

const dateValue = uncurry(NativeDate.prototype.getTime);

function sleepUntil(id, time, opts) {
  const call = callOf('ctx.sleepUntil', id);
  assertWorkflow('ctx.sleepUntil');
  needString(call, 'id (1st argument)', id);
  let ms = time;
  if (time instanceof NativeDate) ms = dateValue(time);
  else if (typeof time === 'string') ms = NativeDate.parse(time);
  if (!isFiniteNumber(ms)) throw bad(call, `time (2nd argument) must be a Date, an ISO 8601 text or epoch milliseconds, got ${kindOf(time)}`);
  const o = options(call, opts, sleepOptions);
  return request('ctx.sleepUntil', id, 'timer', id, o.label || '', plain({ untilMs: ms < 1 ? 1 : floor(ms) }));
}

function run(workflow, input, opts) {
  const call = callOf('ctx.run', workflow);
  assertWorkflow('ctx.run');
  needString(call, 'workflow (1st argument)', workflow);
  if (input !== undefined && input !== null && !isPlainObject(input)) {
    throw bad(call, `input (2nd argument) must be an object, got ${kindOf(input)}`);
  }
  const o = options(call, opts, runOptions);
  const json = input === undefined || input === null ? '{}' : jsonOf(input, `the input of ${call}`);
  return request('ctx.run', workflow, 'run', o.id === undefined ? workflow : o.id, o.label || '', plain({ workflow, input: plain({ json }) }));
}
