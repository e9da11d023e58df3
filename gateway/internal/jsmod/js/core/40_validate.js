// Checks of arguments. Every message names the call, the parameter and the fix.
function bad(call, message) {
  return new NativeTypeError(`${call}: ${message}`);
}

function kindOf(value) {
  if (value === null) return 'null';
  if (isArray(value)) return 'an array';
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object') return 'an object';
  if (typeof value === 'string') return stringify(value);
  if (typeof value === 'undefined') return 'undefined';
  return `${typeof value} ${text(value)}`;
}

function isPlainObject(value) {
  return typeof value === 'object' && value !== null && !isArray(value);
}

function needString(call, name, value, limit = 256) {
  if (typeof value !== 'string' || value === '') throw bad(call, `${name} must be a non-empty string, got ${kindOf(value)}`);
  if (value.length > limit) throw bad(call, `${name} must have at most ${limit} characters, it has ${value.length}`);
  return value;
}

function needFunction(call, name, value) {
  if (typeof value !== 'function') throw bad(call, `${name} must be a function, got ${kindOf(value)}`);
  return value;
}

// checkers of option values, by the name used in the tables below
const checkers = plain({
  text: (v) => (typeof v === 'string' ? '' : 'a string'),
  name: (v) => (typeof v === 'string' && v !== '' ? '' : 'a non-empty string'),
  flag: (v) => (typeof v === 'boolean' ? '' : 'true or false'),
  count: (v) => (isSafeInteger(v) && v >= 0 && v <= 1000000 ? '' : 'a whole number from 0 to 1000000'),
  limit: (v) => (isSafeInteger(v) && v >= 1 && v <= 1000000 ? '' : 'a whole number from 1 to 1000000'),
  ms: (v) => (isFiniteNumber(v) && v >= 0 && v <= 3153600000000 ? '' : 'a number of milliseconds, 0 or more'),
  factor: (v) => (isFiniteNumber(v) && v >= 1 && v <= 100 ? '' : 'a number from 1 to 100'),
  number: (v) => (isFiniteNumber(v) ? '' : 'a finite number'),
  texts: (v) => (isArray(v) && everyItem(v, (x) => typeof x === 'string') ? '' : 'an array of strings'),
  object: (v) => (isPlainObject(v) ? '' : 'an object'),
  fn: (v) => (typeof v === 'function' ? '' : 'a function'),
  any: () => '',
});

function everyItem(list, test) {
  for (let i = 0; i < list.length; i++) if (!test(list[i])) return false;
  return true;
}

// options copies the allowed members of an options object into a fresh one and
// refuses unknown names, listing the allowed ones.
function options(call, value, table) {
  const out = plain({});
  if (value === undefined || value === null) return out;
  if (!isPlainObject(value)) throw bad(call, `options must be an object, got ${kindOf(value)}`);
  const keys = objectKeys(value);
  for (let i = 0; i < keys.length; i++) {
    const key = keys[i];
    if (!hasOwn(table, key)) {
      throw bad(call, `unknown option ${stringify(key)}; allowed are ${join(objectKeys(table), ', ')}`);
    }
    const v = value[key];
    if (v === undefined) continue;
    const expected = checkers[table[key]](v);
    if (expected !== '') throw bad(call, `option ${key} must be ${expected}, got ${kindOf(v)}`);
    out[key] = v;
  }
  return out;
}

// duration reads milliseconds or a text such as "1h30m".
function duration(call, name, value) {
  if (typeof value === 'number') {
    if (isFiniteNumber(value) && value >= 0 && value <= 3153600000000) return floor(value);
    throw bad(call, `${name} must be a number of milliseconds from 0 to a hundred years, got ${text(value)}`);
  }
  if (typeof value === 'string') {
    const ms = host('duration', value);
    if (typeof ms === 'number') return ms;
    throw bad(call, `${name}: ${ms}`);
  }
  throw bad(call, `${name} must be milliseconds or a text such as "5m" or "1h30m", got ${kindOf(value)}`);
}

// member copies what is present into a JSON-ready object; raw JSON text goes in under
// a name that Go knows to unpack.
function setIf(object, name, value) {
  if (value !== undefined) object[name] = value;
}
