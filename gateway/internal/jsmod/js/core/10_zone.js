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

// Rejections that nobody handles are told by the engine, which asks for their report at the
// end of the turn.

function patchedThen(onFulfilled, onRejected) {
  return nativeThen(this, bound(zone, onFulfilled), bound(zone, onRejected));
}

// bound makes a callback run in a zone. Callbacks run without one anyway.
function bound(z, fn) {
  if (typeof fn !== 'function' || z === null) return fn;
  return (value) => {
    const previous = zone;
    zone = z;
    try {
      const result = fn(value);
      return isObject(result) ? zonedThenable(result) : result;
    } finally {
      zone = previous;
    }
  };
}

// zonedThenable keeps a foreign thenable's then() in the zone that resolved with it;
// the engine itself would call it from a job without one.
function zonedThenable(value) {
  if (zone === null || value instanceof NativePromise) return value;
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
  let settled = false; // what comes later is not even looked at
  try {
    executor(
      (value) => {
        if (settled) return;
        settled = true;
        resolveWith(resolve, reject, value);
      },
      (error) => {
        settled = true;
        reject(error);
      },
    );
  } catch (error) {
    reject(error);
  }
  return promise;
};

function resolveWith(resolve, reject, value) {
  if (isObject(value)) {
    try {
      value = zonedThenable(value);
    } catch (error) {
      reject(error);
      return;
    }
  }
  resolve(value);
}

function installPromise() {
  setPrototypeOf(ZonedPromise, NativePromise);
  defineProperty(ZonedPromise, 'prototype', plain({ value: NativePromise.prototype, writable: false }));
  // Promises made by then() come straight from the engine: they need no executor.
  defineProperty(ZonedPromise, Symbol.species, plain({ value: NativePromise, configurable: true }));
  hide(NativePromise.prototype, 'constructor', ZonedPromise);
  hide(NativePromise.prototype, 'then', patchedThen);
  hide(globalThis, 'Promise', ZonedPromise);
}

// hear tells the prelude what a function of user code has come to that has returned
// value: now or, if it is a promise, later.
function hear(value, finished, failed) {
  nativeThen(value instanceof NativePromise ? value : nativeResolve(isObject(value) ? zonedThenable(value) : value), finished, failed);
}

// deferred is a promise of the prelude's own, outside of what user code can touch. A few are
// made with the VM, before any run.
let stock = null; // linked by next
for (let i = 0; i < 3; i++) {
  const d = newDeferred();
  d.next = stock;
  stock = d;
}

function newDeferred() {
  const promise = new NativePromise(taking);
  return { promise, resolve: takenResolve, reject: takenReject, body: undefined, mapError: undefined, next: null };
}

function deferred() {
  if (stock === null) return newDeferred();
  const d = stock;
  stock = d.next;
  d.next = null;
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
  job(() => {
    try {
      inZone(captured, callback, undefined, []);
    } catch (error) {
      reportUncaught(error);
    }
  });
}
