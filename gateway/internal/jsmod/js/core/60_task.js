// Attempts: running task bodies and what they may use.
const attempts = new NativeMap(); // "ref/number" -> attempt
const usageOptions = plain({
  model: 'text', agent: 'text', inputTokens: 'count9', outputTokens: 'count9', cacheReadTokens: 'count9', cacheWriteTokens: 'count9',
  reasoningTokens: 'count9',
});
checkers.count9 = (v) => (isSafeInteger(v) && v >= 0 ? '' : 'a whole number, 0 or more');

function taskContext(attempt, idempotencyKey) {
  const context = {
    attempt: attempt.number,
    idempotencyKey,
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

function startAttempt(ref, number, idempotencyKey) {
  const body = mapGet(bodies, ref);
  if (body === undefined) {
    host('end', ref, number, false, stringify(plain({ name: 'Error', message: 'no task waits under this reference' })));
    return;
  }
  const attempt = plain({ ref, number, done: false, aborted: false, reason: undefined, controller: undefined });
  const key = `${ref}/${number}`;
  mapSet(attempts, key, attempt);
  const failed = (error) => endAttempt(attempt, key, false, errorJSON(error));
  const finished = (value) => {
    let json;
    try {
      json = jsonOf(value, 'the result of the task');
    } catch (error) {
      failed(error);
      return;
    }
    endAttempt(attempt, key, true, json);
  };
  const previous = zone;
  zone = attemptZone(attempt);
  try {
    hear(body(taskContext(attempt, idempotencyKey)), finished, failed);
  } catch (error) {
    failed(error);
  } finally {
    zone = previous;
  }
}

function attemptZone(attempt) {
  return plain({ attempt, parent: null, block: null, iteration: 0, blocks: '' });
}

function endAttempt(attempt, key, ok, json) {
  attempt.done = true;
  mapDelete(attempts, key);
  host('end', attempt.ref, attempt.number, ok, json);
}

function abortAttempt(ref, number, json) {
  const attempt = mapGet(attempts, `${ref}/${number}`);
  if (attempt === undefined || attempt.aborted) return;
  attempt.aborted = true;
  attempt.reason = json === undefined ? cancelledError('the task was cancelled') : parseFailure(json);
  if (attempt.controller !== undefined) inZone(attemptZone(attempt), attempt.controller.abort, undefined, [attempt.reason]);
}
