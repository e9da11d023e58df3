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
  if (promise !== undefined && !weakSetHas(handledPromises, promise)) mapSet(rejectedPromises, promise, reason);
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

function patchedThen(onFulfilled, onRejected) {
  const captured = zone;
  let derived;
  const bound = (fn) => (value) => {
    const previous = zone;
    zone = captured;
    try {
      const result = fn(value);
      if (!isObject(result)) return result;
      watchAdoption(derived, result);
      return zonedThenable(result);
    } catch (error) {
      tracked(derived, error);
      throw error;
    } finally {
      zone = previous;
    }
  };
  const pass = (reason) => {
    tracked(derived, reason);
    throw reason;
  };
  markHandled(this);
  derived = nativeThen(
    this,
    typeof onFulfilled === 'function' ? bound(onFulfilled) : undefined,
    typeof onRejected === 'function' ? bound(onRejected) : pass,
  );
  return derived;
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

const ZonedPromise = function Promise(executor) {
  if (new.target === undefined) throw new NativeTypeError("Promise must be called with 'new'");
  if (typeof executor !== 'function') throw new NativeTypeError('Promise resolver is not a function');
  let promise;
  let early; // a rejection from inside the executor, before the promise has a name
  let settled = false;
  const run = (resolve, reject) => {
    const fail = (reason) => {
      if (settled) return;
      settled = true;
      if (promise === undefined) early = { reason };
      else tracked(promise, reason);
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
        if (promise !== undefined) watchAdoption(promise, value);
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
  };
  promise = construct(NativePromise, [run], new.target === ZonedPromise ? NativePromise : new.target);
  if (early !== undefined) tracked(promise, early.reason);
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

// deferred is a promise of the prelude's own, outside of what user code can touch.
function deferred() {
  const d = plain({ promise: undefined, resolve: undefined, reject: undefined });
  d.promise = new NativePromise((resolve, reject) => {
    d.resolve = resolve;
    d.reject = (reason) => {
      if (d.promise !== undefined) tracked(d.promise, reason);
      reject(reason);
    };
  });
  return d;
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
