// structuredClone.
return (() => {
  const { chunk } = internals;
  const refuse = (what) => new (chunk('events').DOMException)(`${what} cannot be cloned`, 'DataCloneError');
  const errors = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };

  function clone(value, seen) {
    if (typeof value === 'function') throw refuse('a function');
    if (typeof value === 'symbol') throw refuse('a symbol');
    if (typeof value !== 'object' || value === null) return value;
    if (seen.has(value)) return seen.get(value);
    const keep = (copy) => {
      seen.set(value, copy);
      return copy;
    };
    if (value instanceof Boolean || value instanceof Number || value instanceof String) return keep(Object(value.valueOf()));
    if (value instanceof Date) return keep(new Date(value.getTime()));
    if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
    if (value instanceof ArrayBuffer) return keep(value.slice(0));
    if (ArrayBuffer.isView(value)) {
      const buffer = clone(value.buffer, seen);
      return keep(new value.constructor(buffer, value.byteOffset, value instanceof DataView ? value.byteLength : value.length));
    }
    if (value instanceof Map) {
      const copy = keep(new Map());
      for (const [k, v] of [...value]) copy.set(clone(k, seen), clone(v, seen));
      return copy;
    }
    if (value instanceof Set) {
      const copy = keep(new Set());
      for (const v of [...value]) copy.add(clone(v, seen));
      return copy;
    }
    if (value instanceof Error) {
      const copy = keep(new (errors[value.name] ?? Error)(value.message));
      if (value.stack !== undefined) Object.defineProperty(copy, 'stack', { value: value.stack, writable: true, configurable: true });
      if ('cause' in value) Object.defineProperty(copy, 'cause', { value: clone(value.cause, seen), writable: true, configurable: true });
      return copy;
    }
    for (const type of [Promise, WeakMap, WeakSet, WeakRef]) if (value instanceof type) throw refuse(`a ${type.name}`);
    const copy = keep(Array.isArray(value) ? new Array(value.length) : {});
    for (const key of Object.keys(value)) copy[key] = clone(value[key], seen);
    return copy;
  }

  return {
    structuredClone(value, options = {}) {
      if (arguments.length === 0) throw new TypeError('structuredClone needs a value');
      const moved = options?.transfer ?? [];
      const copy = clone(value, new Map());
      for (const buffer of moved) if (buffer instanceof ArrayBuffer) buffer.transfer();
      return copy;
    },
  };
})();
