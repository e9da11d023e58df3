// Private copies of what the prelude needs of the language, taken before any user
// code runs. A module that replaces Array.prototype.push or JSON.stringify changes
// its own world, never this one. No file of core/ may call a method of a shared
// prototype directly.
const callMethod = Function.prototype.call;
const uncurry = (method) => callMethod.bind(method);
const NativePromise = Promise;
const NativeDate = Date;
const NativeError = Error;
const NativeTypeError = TypeError;
const NativeMap = Map;
const nativeThen = uncurry(Promise.prototype.then);
const nativeResolve = Promise.resolve.bind(Promise);
const nativeDateNow = Date.now;
const nativeRandom = Math.random;
const imul = Math.imul;
const floor = Math.floor;
const isSafeInteger = Number.isSafeInteger;
const isFiniteNumber = Number.isFinite;
const stringify = JSON.stringify;
const parse = JSON.parse;
const isArray = Array.isArray;
const objectKeys = Object.keys;
const assign = Object.assign;
const defineProperty = Object.defineProperty;
const setPrototypeOf = Object.setPrototypeOf;
const getPrototypeOf = Object.getPrototypeOf;
const freeze = Object.freeze;
const construct = Reflect.construct;
const apply = Reflect.apply;
const toText = String;
const join = uncurry(Array.prototype.join);
const includes = uncurry(Array.prototype.includes);
const hasOwn = Object.hasOwn;
const isObject = (v) => (typeof v === 'object' && v !== null) || typeof v === 'function';

// push appends without consulting setters that user code may have put on
// Array.prototype or Object.prototype.
function push(list, value) {
  put(list, list.length, value);
}

// One descriptor of each kind serves all definitions: making an object for each is
// what a fresh VM would spend most of its time with.
const visible = plain({ value: undefined, writable: true, enumerable: true, configurable: true });
const hidden = plain({ value: undefined, writable: true, enumerable: false, configurable: true });

function put(object, name, value) {
  visible.value = value;
  defineProperty(object, name, visible);
  visible.value = undefined;
}

// plain cuts an object literal off Object.prototype, so that a polluted prototype
// (a toJSON, a default option, a getter for "get") is not seen through it.
function plain(object) {
  return setPrototypeOf(object, null);
}

// ownMap makes a Map that user code never sees, with methods that it cannot replace: calling
// them costs less than calling an uncurried one.
const mapMethods = plain({ get: Map.prototype.get, set: Map.prototype.set, has: Map.prototype.has, delete: Map.prototype.delete });

function ownMap() {
  return setPrototypeOf(new NativeMap(), mapMethods);
}

function hide(object, name, value) {
  hidden.value = value;
  defineProperty(object, name, hidden);
  hidden.value = undefined;
}

// text turns anything into a string and never throws.
function text(value) {
  try {
    return typeof value === 'symbol' ? 'Symbol()' : toText(value);
  } catch {
    return 'a value that cannot be shown';
  }
}
