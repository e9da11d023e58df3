// The gateway object that a module's register function gets.
const definitions = ownMap();
let registrationOpen = true;
const registerOptions = plain({ schedule: 'text', timeZone: 'text', webhook: 'object', system: 'flag', readableName: 'text', description: 'text' });
const webhookOptions = plain({ secret: 'any', signatureHeader: 'name', signaturePrefix: 'text', deliveryHeader: 'name', signal: 'object', run: 'object' });
const webhookSignal = plain({ name: 'name', correlationIdPath: 'text', runIdPath: 'text', payloadPath: 'text' });
const webhookRun = plain({ enabled: 'flag', inputPath: 'text' });

function register(key, fn, opts) {
  const call = callOf('gateway.register', key);
  if (!registrationOpen) throw bad(call, 'registration is over; call it before register() returns (or await it there)');
  needString(call, 'key (1st argument)', key);
  needFunction(call, 'workflow (2nd argument)', fn);
  if (definitions.has(key)) throw bad(call, 'a workflow with this key is already registered');
  const o = options(call, opts, registerOptions);
  if (o.webhook !== undefined) o.webhook = webhook(call, o.webhook);
  definitions.set(key, plain({ fn }));
  o.key = key;
  host('define', stringify(o));
}

function webhook(call, value) {
  const o = options(`${call} webhook`, value, webhookOptions);
  if (o.secret !== undefined && typeof o.secret !== 'string') {
    throw bad(`${call} webhook`, `option secret must be a string, got ${kindOf(o.secret)}`);
  }
  if (o.secret === undefined) o.secret = ''; // an environment variable that is not set: every delivery is refused
  if (o.signal !== undefined) {
    o.signal = options(`${call} webhook.signal`, o.signal, webhookSignal);
    if (o.signal.name === undefined) throw bad(`${call} webhook.signal`, 'name is missing');
  }
  if (o.run !== undefined) o.run = options(`${call} webhook.run`, o.run, webhookRun);
  return o;
}

function registerFailed(error) {
  registrationOpen = false;
  host('registerFailed', errorJSON(error));
}

// loadModule receives the module's exports from the bundle's entry.
let moduleReady; // promise of the registration

function loadModule(exports) {
  delete globalThis.__smithersModule;
  const finish = () => {
    registrationOpen = false;
    host('registered');
  };
  const failed = registerFailed;
  try {
    let fn = exports.register;
    if (fn === undefined) {
      fn = exports.default;
      if (isObject(fn) && typeof fn !== 'function' && typeof fn.register === 'function') fn = fn.register;
    }
    if (typeof fn !== 'function') {
      throw new NativeTypeError('the module must export a function register(gateway), or a default function');
    }
    const gateway = freeze({ register });
    moduleReady = nativeResolve(zonedValue(fn(gateway)));
  } catch (error) {
    failed(error);
    return;
  }
  nativeThen(moduleReady, finish, failed);
}

// A bundle with top-level await is an async function.
loadModule.run = (body) => {
  nativeThen(body(), undefined, registerFailed);
};

loadModule.async = runAsync;
