// Globals. The small ones are made here; the others load from a chunk of their own
// when they are first named, so that a VM that does not use them costs nothing.
const chunks = plain({});

function chunk(name) {
  let exported = chunks[name];
  if (exported === undefined) {
    // Go evaluates the chunk and hands its function back through takeChunk.
    host('chunk', name);
    exported = chunks[name];
  }
  return exported;
}

function takeChunk(name, make) {
  const previous = zone;
  zone = null;
  try {
    chunks[name] = make(internals);
  } finally {
    zone = previous;
  }
}

const lazy = plain({ configurable: true, enumerable: false, get: undefined, set: undefined });

function lazyGlobal(chunkName, name) {
  lazy.get = () => {
    const value = chunk(chunkName)[name];
    hide(globalThis, name, value);
    return value;
  };
  lazy.set = (value) => hide(globalThis, name, value);
  defineProperty(globalThis, name, lazy);
}

function show(args) {
  let out = '';
  for (let i = 0; i < args.length; i++) {
    if (i > 0) out += ' ';
    out += typeof args[i] === 'string' ? args[i] : chunk('console').inspect(args[i]);
  }
  return out;
}

function consoleLine(level) {
  return (...args) => {
    host('log', level, show(args));
  };
}

const console = {
  log: consoleLine('info'),
  info: consoleLine('info'),
  warn: consoleLine('warn'),
  error: consoleLine('error'),
  debug: consoleLine('debug'),
  trace: consoleLine('debug'),
  dir: consoleLine('info'),
  assert: (ok, ...args) => {
    if (!ok) host('log', 'error', `Assertion failed${args.length > 0 ? `: ${show(args)}` : ''}`);
  },
};

const internals = plain({
  host, plain, hide, isObject, operation, stopOperation, startTimer, needTask, randomBytes, zonedMicrotask, inTask, now, chunk, errorJSON,
  reportUncaught, attemptRef, attemptNumber, abortSignalOf, options, oneOf, kindOf, bad,
  currentAttempt: () => (zone === null ? null : zone.attempt),
});

const lazyGlobals = plain({
  url: ['URL', 'URLSearchParams'],
  encoding: ['TextEncoder', 'TextDecoder', 'atob', 'btoa'],
  events: ['Event', 'CustomEvent', 'EventTarget', 'AbortController', 'AbortSignal', 'DOMException'],
  clone: ['structuredClone'],
  crypto: ['crypto'],
  blob: ['Blob', 'File'],
  fetch: ['fetch', 'Headers', 'Request', 'Response', 'FormData'],
  exec: ['exec'],
});

function installGlobals(env) {
  const names = objectKeys(lazyGlobals);
  for (let i = 0; i < names.length; i++) {
    const list = lazyGlobals[names[i]];
    for (let j = 0; j < list.length; j++) lazyGlobal(names[i], list[j]);
  }
  hide(globalThis, 'console', console);
  hide(globalThis, 'queueMicrotask', zonedMicrotask);
  hide(globalThis, 'self', globalThis);
  hide(globalThis, 'navigator', freeze({ userAgent: 'Smithers-Gateway', language: 'en' }));
  hide(globalThis, 'performance', {
    now: performanceNow,
    get timeOrigin() {
      return timeOrigin();
    },
  });
  hide(globalThis, 'process', { env: parse(env), platform: 'smithers', argv: [], versions: {}, cwd: () => '/', nextTick: (fn, ...args) => zonedMicrotask(() => apply(fn, undefined, args)) });
  hide(globalThis, 'setTimeout', function setTimeout(fn, ms, ...args) {
    return startTimer('setTimeout', fn, ms, false, args);
  });
  hide(globalThis, 'setInterval', function setInterval(fn, ms, ...args) {
    return startTimer('setInterval', fn, ms, true, args);
  });
  const clear = (id) => stopOperation(id, false);
  hide(globalThis, 'clearTimeout', clear);
  hide(globalThis, 'clearInterval', clear);
}
