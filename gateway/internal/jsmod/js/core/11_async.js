// Async functions of a module. The bundler lowers each to a generator and a call of a
// helper that drives it; Go puts this driver in the helper's place. It does what the
// helper does, in as many promise callbacks, with fewer functions, objects and promises,
// and without looking at what the module has made of Promise.
const generatorNext = uncurry(getPrototypeOf(function* () {}).prototype.next);
const generatorThrow = uncurry(getPrototypeOf(function* () {}).prototype.throw);
const zonedResolve = NativePromise.resolve.bind(ZonedPromise);
const noArguments = [];

function runAsync(thisArg, args, body) {
  const { promise, resolve, reject } = deferred();
  try {
    const generator = apply(body, thisArg, args === null ? noArguments : args);
    const first = generatorNext(generator);
    if (first.done) resolveWith(resolve, reject, first.value);
    else suspend(generator, resolve, reject, first.value);
  } catch (error) {
    reject(error);
  }
  return promise;
}

// suspend goes on with a generator when what it awaits has settled, and so on to its end.
function suspend(generator, resolve, reject, awaited) {
  const z = zone;
  const advance = (method, value) => {
    const previous = zone;
    zone = z;
    try {
      const step = method(generator, value);
      if (step.done) resolveWith(resolve, reject, step.value);
      else nativeThen(promiseOf(step.value), fulfilled, failed);
    } catch (error) {
      reject(error);
    } finally {
      zone = previous;
    }
  };
  const fulfilled = (value) => advance(generatorNext, value);
  const failed = (reason) => advance(generatorThrow, reason);
  nativeThen(promiseOf(awaited), fulfilled, failed);
}

// promiseOf is Promise.resolve.
function promiseOf(value) {
  return isObject(value) ? zonedResolve(value) : nativeResolve(value);
}
