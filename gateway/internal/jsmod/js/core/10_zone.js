// Zones: the ambient context of workflow code. Calls such as ctx.task inside a loop
// body use the outer ctx, so which loop, which iteration and which branch they
// belong to must follow the code across every await. The bundler lowers async
// functions to generators over promises, so each continuation passes through
// Promise.prototype.then, which captures the zone here and restores it around the
// callback.
//
// A zone is null (module level), a workflow zone or the zone of one attempt.
let zone = null;

function inZone(z, fn, thisArg, args) {
  const previous = zone;
  zone = z;
  try {
    return apply(fn, thisArg, args);
  } finally {
    zone = previous;
  }
}

// Rejections nobody handles. A promise is tracked when it is rejected and reported at
// the end of the turn unless a handler was attached meanwhile.
const handledPromises = new NativeWeakSet();
const rejectedPromises = new NativeMap();

function tracked(promise, reason) {
  if (promise === undefined || weakSetHas(handledPromises, promise)) return;
  mapSet(rejectedPromises, promise, reason);
  host('rejected'); // or nobody would ask for the report
}

function markHandled(promise) {
  if (isObject(promise)) weakSetAdd(handledPromises, promise);
}

function reportRejections(report) {
  if (mapSize(rejectedPromises) === 0) return;
  mapForEach(rejectedPromises, (reason, promise) => {
    if (!weakSetHas(handledPromises, promise)) report(reason);
  });
  mapClear(rejectedPromises);
}

function watchAdoption(promise, value) {
  if (promise !== undefined && isObject(value) && value instanceof NativePromise) {
    try {
      nativeThen(value, undefined, (reason) => tracked(promise, reason));
    } catch {
      // Only looks like a promise.
    }
  }
}

// A link is one call of then(): the zone it was made in and the promise it returned. Every
// await makes one, so functions are made only for what is needed.
function patchedThen(onFulfilled, onRejected) {
  const link = { zone, derived: undefined };
  markHandled(this);
  link.derived = nativeThen(
    this,
    typeof onFulfilled === 'function' ? bound(link, onFulfilled) : undefined,
    typeof onRejected === 'function' ? bound(link, onRejected) : passing(link),
  );
  return link.derived;
}

function bound(link, fn) {
  return (value) => {
    const previous = zone;
    zone = link.zone;
    try {
      const result = fn(value);
      if (!isObject(result)) return result;
      watchAdoption(link.derived, result);
      return zonedThenable(result);
    } catch (error) {
      tracked(link.derived, error);
      throw error;
    } finally {
      zone = previous;
    }
  };
}

function passing(link) {
  return (reason) => {
    tracked(link.derived, reason);
    throw reason;
  };
}

// zonedThenable keeps a foreign thenable's then() in the zone that resolved with it;
// the engine itself would call it from a job without one.
function zonedThenable(value) {
  if (value instanceof NativePromise) return value;
  const then = value.then;
  if (typeof then !== 'function') return value;
  const captured = zone;
  return plain({
    then(resolve, reject) {
      return inZone(captured, then, value, [resolve, reject]);
    },
  });
}

// taking is the executor of all promises made here: whoever makes one takes what it was
// given at once, before any other code runs.
let takenResolve;
let takenReject;
const taking = (resolve, reject) => {
  takenResolve = resolve;
  takenReject = reject;
};
const takingOnly = [taking];

const ZonedPromise = function Promise(executor) {
  if (new.target === undefined) throw new NativeTypeError("Promise must be called with 'new'");
  if (typeof executor !== 'function') throw new NativeTypeError('Promise resolver is not a function');
  const promise = new.target === ZonedPromise ? new NativePromise(taking) : construct(NativePromise, takingOnly, new.target);
  const resolve = takenResolve;
  const reject = takenReject;
  let settled = false;
  let returned = false;
  const fail = (reason) => {
    if (settled) return;
    settled = true;
    tracked(promise, reason);
    reject(reason);
  };
  const done = (value) => {
    if (settled) return;
    if (isObject(value)) {
      try {
        value = zonedThenable(value);
      } catch (error) {
        fail(error);
        return;
      }
      settled = true;
      resolve(value);
      if (returned) watchAdoption(promise, value);
      return;
    }
    settled = true;
    resolve(value);
  };
  try {
    executor(done, fail);
  } catch (error) {
    fail(error);
  }
  returned = true;
  return promise;
};

function installPromise() {
  setPrototypeOf(ZonedPromise, NativePromise);
  defineProperty(ZonedPromise, 'prototype', plain({ value: NativePromise.prototype, writable: false }));
  // Promises made by then() come straight from the engine: they need no executor.
  defineProperty(ZonedPromise, Symbol.species, plain({ get: () => NativePromise, configurable: true }));
  hide(NativePromise.prototype, 'constructor', ZonedPromise);
  hide(NativePromise.prototype, 'then', patchedThen);
  hide(globalThis, 'Promise', ZonedPromise);
}

// follow listens to a promise for the prelude itself.
function follow(promise, onFulfilled, onRejected) {
  markHandled(promise);
  return nativeThen(promise, onFulfilled, onRejected);
}

// hear tells the prelude what a function of user code has come to that has returned
// value: now or, if it is a promise, later.
function hear(value, finished, failed) {
  if (isObject(value) && value instanceof NativePromise) follow(value, finished, failed);
  else nativeThen(nativeResolve(isObject(value) ? zonedThenable(value) : value), finished, failed);
}

// hearRun is hear for workflow functions. What else such a function has set going may ask
// for nodes until its end is heard, so that this must come as many promise callbacks
// after it as it did for the runs that a journal replays.
const already = nativeResolve(undefined);

function hearRun(value, finished, failed) {
  if (!isObject(value) || !(value instanceof NativePromise)) {
    hear(value, finished, failed);
    return;
  }
  const first = follow(value);
  nativeThen(already, () => {
    nativeThen(nativeThen(first), finished, failed);
  });
}

// deferred is a promise of the prelude's own, outside of what user code can touch.
function deferred() {
  const promise = new NativePromise(taking);
  const reject = takenReject;
  return {
    promise,
    resolve: takenResolve,
    reject: (reason) => {
      tracked(promise, reason);
      reject(reason);
    },
    mapError: undefined,
  };
}

function rejected(error) {
  const d = deferred();
  d.reject(error);
  return d.promise;
}

function zonedMicrotask(callback) {
  if (typeof callback !== 'function') throw new NativeTypeError('queueMicrotask needs a function');
  const captured = zone;
  nativeThen(nativeResolve(undefined), () => {
    try {
      inZone(captured, callback, undefined, []);
    } catch (error) {
      reportUncaught(error);
    }
  });
}
