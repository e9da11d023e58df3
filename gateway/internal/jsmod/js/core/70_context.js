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

// The ctx of the run, made with the VM. A VM serves one run.
const ctx = assign({}, nodeCalls, { input: undefined, runId: undefined, auth: undefined, info: undefined });
const ctxInfo = { runId: undefined, parentRunId: undefined, workflow: undefined, startedAtMs: 0 };

function startRun(key, startedAtMs, seedHigh, seedLow, id, parentRunId, workflow, input, auth) {
  journalMs = startedAtMs;
  startMs = startedAtMs;
  seedRandom(seedHigh, seedLow);
  runId = id;
  ctxInfo.runId = id;
  ctxInfo.parentRunId = parentRunId;
  ctxInfo.workflow = workflow;
  ctxInfo.startedAtMs = startedAtMs;
  ctx.input = parse(input);
  ctx.runId = id;
  ctx.auth = parse(auth);
  ctx.info = freeze(ctxInfo);
  const previous = zone;
  zone = rootZone;
  try {
    hearRun(definitions.get(key).fn(ctx));
  } catch (error) {
    runFailed(error);
  } finally {
    zone = previous;
  }
}

function runFailed(error) {
  if (!continued) host('failed', errorJSON(error));
}

function runFinished(value) {
  if (continued) return;
  let output;
  try {
    output = jsonOf(value, 'the result of the workflow');
  } catch (error) {
    runFailed(error);
    return;
  }
  ended = 'the workflow function has returned';
  host('done', output);
}

// hearRun is hear for workflow functions. What else such a function has set going may ask
// for nodes until its end is heard, so that this must come as many promise callbacks
// after it as it did for the runs that a journal replays: three after its promise.
function hearRun(value) {
  if (value instanceof NativePromise) nativeThen(value, finishedSoon, failedSoon);
  else hear(value, runFinished, runFailed);
}

const finishedNext = (value) => job(runFinished, value);
const finishedSoon = (value) => job(finishedNext, value);
const failedNext = (error) => job(runFailed, error);
const failedSoon = (error) => job(failedNext, error);
