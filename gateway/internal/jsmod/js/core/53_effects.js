// Effects: small journalled reads and writes, from the workflow (settled like a node)
// or from inside a task (performed at once).
let lastEffect = 0;
const effectReplies = ownMap(); // id -> deferred, of effects asked for inside tasks
let lastTaskEffect = 0;
const scoreOptions = plain({ scorer: 'name', score: 'number', node: 'name', reason: 'text', meta: 'any', input: 'any', output: 'any', groundTruth: 'any', context: 'any' });
const memoryOptions = plain({ namespace: 'name', ttlMs: 'ms' });
const memoryReadOptions = plain({ namespace: 'name' });

function effect(call, op, args) {
  const z = zone;
  if (z !== null && z.attempt !== null) return taskEffect(z.attempt, op, args);
  assertWorkflow(call);
  lastEffect += 1;
  return request(call, undefined, 'effect', `${op}#${lastEffect}`, '', plain({ op, args: plain({ json: stringify(args) }) }));
}

function taskEffect(attempt, op, args) {
  lastTaskEffect += 1;
  const d = deferred();
  effectReplies.set(lastTaskEffect, d);
  host('taskEffect', attempt.ref, attempt.number, op, stringify(args), lastTaskEffect);
  return d.promise;
}

function effectReply(id, ok, json) {
  const d = effectReplies.get(id);
  if (d === undefined) return;
  effectReplies.delete(id);
  if (ok) d.resolve(json === undefined ? undefined : parse(json));
  else d.reject(parseFailure(json));
}

function memoryArgs(call, key, opts, table) {
  needString(call, 'key (1st argument)', key);
  const o = options(call, opts, table);
  const args = plain({ namespace: o.namespace === undefined ? 'default' : o.namespace, key });
  setIf(args, 'ttlMs', o.ttlMs);
  return args;
}

const memory = {
  get: asynchronous((key, opts) => {
    const call = 'ctx.memory.get';
    const args = memoryArgs(call, key, opts, memoryReadOptions);
    const d = deferred();
    nativeThen(effect(call, 'memory.get', args), (value) => d.resolve(value === null ? undefined : value), d.reject);
    return d.promise;
  }),
  set: asynchronous((key, value, opts) => {
    const call = 'ctx.memory.set';
    const args = memoryArgs(call, key, opts, memoryOptions);
    if (value === undefined) throw bad(call, 'value (2nd argument) must not be undefined; use ctx.memory.delete to remove a fact');
    const json = jsonOf(value, `the value of ${call}(${stringify(key)})`);
    if (json === undefined) throw bad(call, `value (2nd argument) must be plain data, got ${kindOf(value)}`);
    args.value = parse(json);
    return effect(call, 'memory.set', args);
  }),
  delete: asynchronous((key, opts) => {
    const call = 'ctx.memory.delete';
    return effect(call, 'memory.delete', memoryArgs(call, key, opts, memoryReadOptions));
  }),
};

const score = asynchronous((value) => {
  const call = 'ctx.score';
  if (!isPlainObject(value)) throw bad(call, `the score (1st argument) must be an object such as { scorer: "quality", score: 0.9 }, got ${kindOf(value)}`);
  const o = options(call, value, scoreOptions);
  if (o.scorer === undefined) throw bad(call, 'scorer is missing; name what gave the score');
  if (o.score === undefined) throw bad(call, 'score is missing; it must be a finite number');
  setIf(o, 'nodeId', o.node);
  delete o.node;
  return effect(call, 'score', o);
});
