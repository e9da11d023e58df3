// Requests: what the workflow asks of the engine, and the promises that wait for the
// answers.
let lastRef = 0;
let runId = '';
const pending = ownMap(); // ref -> deferred with its task's body
const usedIds = ownMap(); // node ids of iteration 0
const usedKeys = ownMap(); // "node::iteration" of the others
const loopEntries = ownMap(); // loop id -> how often its body was entered
let lastBlock = 0;
let ended = ''; // why no further node may be asked for

// Zones and other records of the prelude have all their members from the start, and so need
// no plain().
const rootZone = { attempt: null, parent: null, block: null, iteration: 0, blocks: '' };

function childZone(parent, block, iteration) {
  const json = stringify(block);
  return {
    attempt: null,
    parent,
    block: { id: block.id, cancelled: false },
    iteration,
    blocks: parent.blocks === '' ? json : `${parent.blocks},${json}`,
  };
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

// callOf is how messages name a call that says what it is about.
function callOf(name, subject) {
  return `${name}(${typeof subject === 'string' ? stringify(subject) : ''})`;
}

// useKey refuses a node that is in this iteration already.
function useKey(name, subject, nodeId, iteration) {
  const keys = iteration === 0 ? usedIds : usedKeys;
  const key = iteration === 0 ? nodeId : `${nodeId}::${iteration}`;
  if (keys.has(key)) {
    throw coded(
      'DUPLICATE_NODE',
      `${callOf(name, subject)}: node id ${stringify(nodeId)} is already used in iteration ${iteration} of this run; give every node of one iteration an id of its own`,
    );
  }
  keys.set(key, true);
}

// request registers a node and returns the promise of its answer. The call has a name and a
// subject, as for callOf; without options there are none.
function request(name, subject, kind, nodeId, label, optionsObject, body, mapError) {
  const z = zone;
  if (z.parent !== null && cancelledBlock(z)) {
    throw cancelledError(`${kind === 'effect' ? name : callOf(name, subject)}: the block around it was cancelled`);
  }
  if (kind !== 'effect') useKey(name, subject, nodeId, z.iteration);
  lastRef += 1;
  const d = deferred();
  d.body = body;
  d.mapError = mapError;
  pending.set(lastRef, d);
  host('request', lastRef, kind, nodeId, z.iteration, label, z.blocks, optionsObject === undefined ? '{}' : stringify(optionsObject));
  return d.promise;
}

function settle(ref, ok, json) {
  const d = pending.get(ref);
  if (d === undefined) return false;
  pending.delete(ref);
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
