// The ctx object of a workflow function.
let continued = false;

function continueAsNew(input) {
  const call = 'ctx.continueAsNew';
  assertWorkflow(call);
  if (input !== undefined && input !== null && !isPlainObject(input)) {
    throw bad(call, `input (1st argument) must be an object, got ${kindOf(input)}`);
  }
  const json = input === undefined || input === null ? '{}' : jsonOf(input, `the input of ${call}`);
  continued = true;
  ended = 'the run has continued as a new one';
  host('continue', json);
  return deferred().promise; // never settles: the function ends here
}

const nodeCalls = plain({
  task: asynchronous(task),
  approval: asynchronous(approval),
  signal: asynchronous(signal),
  sleep: asynchronous(sleep),
  sleepUntil: asynchronous(sleepUntil),
  parallel: asynchronous(parallel),
  loop: asynchronous(loop),
  run: asynchronous(run),
  continueAsNew: asynchronous(continueAsNew),
  score,
  memory,
  log: (...args) => {
    host('log', 'info', show(args));
  },
});

function makeContext(info) {
  const ctx = assign({}, nodeCalls);
  ctx.input = info.input;
  ctx.runId = info.runId;
  ctx.auth = info.auth;
  ctx.info = freeze({ runId: info.runId, parentRunId: info.parentRunId, workflow: info.workflow, startedAtMs: startMs });
  return ctx;
}

function startRun(key, json, startedAtMs, seedHigh, seedLow) {
  const definition = mapGet(definitions, key);
  journalMs = startedAtMs;
  startMs = startedAtMs;
  seedRandom(seedHigh, seedLow);
  const info = plain(parse(json));
  runId = info.runId;
  const failed = (error) => {
    if (!continued) host('failed', errorJSON(error));
  };
  const finished = (value) => {
    if (continued) return;
    let output;
    try {
      output = jsonOf(value, 'the result of the workflow');
    } catch (error) {
      failed(error);
      return;
    }
    ended = 'the workflow function has returned';
    host('done', output);
  };
  const previous = zone;
  zone = rootZone();
  try {
    hearRun(definition.fn(makeContext(info)), finished, failed);
  } catch (error) {
    failed(error);
  } finally {
    zone = previous;
  }
}
