// Requests: what the workflow asks of the engine, and the promises that wait for the
// answers.
let lastRef = 0;
let runId = '';
const pending = new NativeMap(); // ref -> waiter
const bodies = new NativeMap(); // ref -> task body
const usedKeys = new NativeMap(); // "node::iteration" -> true
const loopEntries = new NativeMap(); // loop id -> how often its body was entered
let lastBlock = 0;
let ended = ''; // why no further node may be asked for

function rootZone() {
  return plain({ attempt: null, parent: null, block: null, iteration: 0, blocks: '' });
}

function childZone(parent, block, iteration) {
  const json = stringify(block);
  return plain({
    attempt: null,
    parent,
    block: plain({ id: block.id, cancelled: false }),
    iteration,
    blocks: parent.blocks === '' ? json : `${parent.blocks},${json}`,
  });
}

function cancelledBlock(z) {
  for (; z !== null; z = z.parent) if (z.block !== null && z.block.cancelled) return true;
  return false;
}

// assertWorkflow refuses calls of ctx from places where they would not be found
// again by a replay.
function assertWorkflow(call) {
  if (zone !== null && zone.attempt !== null) {
    throw bad(call, 'not available inside a task; a task body returns a value, the workflow around it asks for further nodes');
  }
  if (turnIsTask) {
    throw coded(
      'WORKFLOW_NONDETERMINISTIC',
      `${call}: workflow code was woken by a task body instead of by a node. Await what ctx.task returns rather than a promise that its body resolves.`,
    );
  }
  if (ended !== '') throw coded('CANCELLED', `${call}: ${ended}`);
  if (zone === null) throw bad(call, 'called outside of the workflow function');
}

function cancelledError(message) {
  const error = coded('CANCELLED', message);
  hide(error, 'name', 'CancelledError');
  return error;
}

// request registers a node and returns the promise of its answer.
function request(call, kind, nodeId, label, optionsObject, body, mapError) {
  const z = zone;
  if (cancelledBlock(z)) throw cancelledError(`${call}: the block around it was cancelled`);
  const key = `${nodeId}::${z.iteration}`;
  if (kind !== 'effect') {
    if (mapHas(usedKeys, key)) {
      throw coded(
        'DUPLICATE_NODE',
        `${call}: node id ${stringify(nodeId)} is already used in iteration ${z.iteration} of this run; give every node of one iteration an id of its own`,
      );
    }
    mapSet(usedKeys, key, true);
  }
  lastRef += 1;
  const ref = lastRef;
  const d = deferred();
  d.mapError = mapError;
  mapSet(pending, ref, d);
  if (body !== undefined) mapSet(bodies, ref, body);
  host('request', ref, kind, nodeId, z.iteration, label, z.blocks, stringify(optionsObject));
  return d.promise;
}

function settle(ref, ok, json) {
  const d = mapGet(pending, ref);
  if (d === undefined) return false;
  mapDelete(pending, ref);
  mapDelete(bodies, ref);
  if (ok) d.resolve(json === undefined ? undefined : parse(json));
  else if (d.mapError !== undefined) d.mapError(d, parseFailure(json));
  else d.reject(parseFailure(json));
  return true;
}

// asynchronous turns what a call of at most three parameters throws into a rejection, as
// an async function does.
function asynchronous(fn) {
  return (a, b, c) => {
    try {
      return fn(a, b, c);
    } catch (error) {
      return rejected(error);
    }
  };
}
