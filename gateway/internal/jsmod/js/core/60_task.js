// Attempts: running task bodies and what they may use.
const attempts = ownMap(); // attemptKey -> attempt
const usageOptions = plain({
  model: 'text', agent: 'text', inputTokens: 'count9', outputTokens: 'count9', cacheReadTokens: 'count9', cacheWriteTokens: 'count9',
  reasoningTokens: 'count9',
});
checkers.count9 = (v) => (isSafeInteger(v) && v >= 0 ? '' : 'a whole number, 0 or more');

// newAttempt makes the record of an attempt with what its body is given. All of it but the
// first members is the same for every attempt.
function newAttempt() {
  const attempt = { ref: 0, number: 0, done: false, aborted: false, reason: undefined, controller: undefined, context: undefined, zone: undefined, finished: undefined, failed: undefined };
  attempt.context = taskContext(attempt);
  attempt.zone = { attempt, parent: null, block: null, iteration: 0, blocks: '' };
  attempt.failed = (error) => endAttempt(attempt, false, errorJSON(error));
  attempt.finished = (value) => {
    let json;
    try {
      json = jsonOf(value, 'the result of the task');
    } catch (error) {
      attempt.failed(error);
      return;
    }
    endAttempt(attempt, true, json);
  };
  return attempt;
}

function taskContext(attempt) {
  const context = {
    attempt: 0,
    idempotencyKey: '',
    heartbeat(data) {
      const json = data === undefined ? undefined : jsonOf(data, 'the data of task.heartbeat');
      if (!attempt.done) host('heartbeat', attempt.ref, attempt.number, json);
    },
    log(line, stream) {
      oneOf('task.log', 'stream (2nd argument)', stream, ['stdout', 'stderr']);
      if (!attempt.done) host('output', attempt.ref, attempt.number, stream === 'stderr' ? 'stderr' : 'stdout', show([line]));
    },
    usage(fields) {
      if (!isPlainObject(fields)) throw bad('task.usage', `the report (1st argument) must be an object such as { model: "m", inputTokens: 1, outputTokens: 2 }, got ${kindOf(fields)}`);
      const o = options('task.usage', fields, usageOptions);
      if (o.inputTokens === undefined) o.inputTokens = 0;
      if (o.outputTokens === undefined) o.outputTokens = 0;
      if (!attempt.done) host('usage', attempt.ref, attempt.number, stringify(o));
    },
    score,
    memory,
  };
  defineProperty(context, 'signal', plain({ enumerable: true, get: () => abortSignalOf(attempt) }));
  return context;
}

function abortSignalOf(attempt) {
  if (attempt.controller === undefined) {
    attempt.controller = chunk('events').newController();
    if (attempt.aborted) attempt.controller.abort(attempt.reason);
  }
  return attempt.controller.signal;
}

// The first attempt of a VM is made with it, before any run.
let prepared = newAttempt();

function startAttempt(ref, number, idempotencyKey) {
  const d = pending.get(ref);
  if (d === undefined || d.body === undefined) {
    host('end', ref, number, false, stringify(plain({ name: 'Error', message: 'no task waits under this reference' })));
    return;
  }
  const attempt = prepared === undefined ? newAttempt() : prepared;
  prepared = undefined;
  attempt.ref = ref;
  attempt.number = number;
  attempt.context.attempt = number;
  attempt.context.idempotencyKey = idempotencyKey;
  attempts.set(attemptKey(ref, number), attempt);
  const previous = zone;
  zone = attempt.zone;
  try {
    hear(d.body(attempt.context), attempt.finished, attempt.failed);
  } catch (error) {
    attempt.failed(error);
  } finally {
    zone = previous;
  }
}

// attemptKey is one number for both: no task has a million attempts.
function attemptKey(ref, number) {
  return ref * 1048576 + number;
}

function endAttempt(attempt, ok, json) {
  attempt.done = true;
  attempts.delete(attemptKey(attempt.ref, attempt.number));
  host('end', attempt.ref, attempt.number, ok, json);
}

function abortAttempt(ref, number, json) {
  const attempt = attempts.get(attemptKey(ref, number));
  if (attempt === undefined || attempt.aborted) return;
  attempt.aborted = true;
  attempt.reason = json === undefined ? cancelledError('the task was cancelled') : parseFailure(json);
  if (attempt.controller !== undefined) inZone(attempt.zone, attempt.controller.abort, undefined, [attempt.reason]);
}
