// Blocks: parallel and loop.
const parallelOptions = plain({ max: 'limit', continueOnFail: 'flag', id: 'name' });
const loopOptions = plain({ max: 'limit', until: 'fn' });

function blockId(prefix) {
  lastBlock += 1;
  return `${prefix}#${lastBlock}`;
}

function parallel(branches, opts) {
  const call = 'ctx.parallel';
  assertWorkflow(call);
  const list = isArray(branches);
  if (!list && !isPlainObject(branches)) {
    throw bad(call, `branches (1st argument) must be an object or an array of functions, got ${kindOf(branches)}`);
  }
  const keys = objectKeys(branches);
  for (let i = 0; i < keys.length; i++) {
    if (typeof branches[keys[i]] !== 'function') {
      throw bad(call, `branch ${stringify(keys[i])} must be a function, got ${kindOf(branches[keys[i]])}; write () => ctx.task(...), not ctx.task(...)`);
    }
  }
  const o = options(call, opts, parallelOptions);
  if (cancelledBlock(zone)) throw cancelledError(`${call}: the block around it was cancelled`);
  const outer = zone;
  const id = blockId(o.id === undefined ? 'parallel' : o.id);
  const here = childZone(outer, plain({ kind: 'parallel', id, iteration: outer.iteration }), outer.iteration);
  const result = list ? [] : {};
  const d = deferred();
  const total = keys.length;
  const width = o.max === undefined ? total : o.max;
  let started = 0;
  let finished = 0;
  let failed = false;
  const store = (key, value) => {
    put(result, key, value);
  };
  const advance = () => {
    if (finished === total) {
      if (!failed) d.resolve(result);
      return;
    }
    while (!failed && started < total && started - finished < width) start(keys[started]);
  };
  const fail = (key, error) => {
    if (failed) return;
    if (o.continueOnFail === true && !cancelledBlock(here)) {
      store(key, plainFailure(error));
      finished += 1;
      advance();
      return;
    }
    failed = true;
    here.block.cancelled = true;
    host('cancelBlock', id);
    d.reject(error);
  };
  const start = (key) => {
    started += 1;
    const branch = childZone(here, plain({ kind: 'branch', id: `${id}/${key}`, iteration: outer.iteration }), outer.iteration);
    let promise;
    try {
      promise = nativeResolve(zonedValue(inZone(branch, branches[key], undefined, [])));
    } catch (error) {
      fail(key, error);
      return;
    }
    nativeThen(promise, (value) => {
      if (failed) return;
      store(key, value);
      finished += 1;
      inZone(outer, advance, undefined, []);
    }, (error) => inZone(outer, fail, undefined, [key, error]));
  };
  advance();
  return d.promise;
}

// plainFailure is what a branch that failed leaves in the result of a parallel with
// continueOnFail.
function plainFailure(error) {
  return { error: error instanceof NativeError ? error : new NativeError(text(error)) };
}

// zonedValue listens to a returned promise at once and carries the zone into foreign
// thenables.
function zonedValue(value) {
  if (!isObject(value)) return value;
  if (value instanceof NativePromise) {
    const d = deferred();
    nativeThen(value, d.resolve, d.reject);
    return d.promise;
  }
  return zonedThenable(value);
}

function loop(id, opts, body) {
  const call = callOf('ctx.loop', id);
  assertWorkflow('ctx.loop');
  needString(call, 'id (1st argument)', id);
  if (typeof opts === 'function' && body === undefined) {
    body = opts;
    opts = undefined;
  }
  const o = options(call, opts, loopOptions);
  needFunction(call, 'body (3rd argument)', body);
  const max = o.max === undefined ? 10000 : o.max;
  const outer = zone;
  const block = blockId(id);
  const d = deferred();
  let i = 0;
  let last;
  const step = () => {
    if (cancelledBlock(outer)) throw cancelledError(`${call}: the block around it was cancelled`);
    const entered = loopEntries.get(id) || 0;
    loopEntries.set(id, entered + 1);
    const here = childZone(outer, plain({ kind: 'loop', id: block, iteration: entered }), entered);
    const promise = nativeResolve(zonedValue(inZone(here, body, undefined, [i])));
    const decided = nativeThen(promise, (value) => {
      last = value;
      i += 1;
      if (o.until === undefined) return false;
      return zonedValue(inZone(here, o.until, undefined, [value, i - 1]));
    });
    nativeThen(decided, next, d.reject);
  };
  const next = (stop) => {
    if (stop || i >= max) {
      d.resolve(last);
      return;
    }
    try {
      inZone(outer, step, undefined, []);
    } catch (error) {
      d.reject(error);
    }
  };
  next(false);
  return d.promise;
}
