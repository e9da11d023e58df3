// Text of values for console and log lines, in the manner of other runtimes.
return (() => {
  const { isObject } = internals;

  function inspect(value, depth = 0, seen = []) {
    if (typeof value === 'string') return depth === 0 ? value : JSON.stringify(value);
    if (typeof value === 'bigint') return `${value}n`;
    if (typeof value === 'symbol') return value.toString();
    if (typeof value === 'function') return `[Function ${value.name || '(anonymous)'}]`;
    if (!isObject(value)) return String(value);
    if (seen.includes(value)) return '[Circular]';
    if (value instanceof Error) return value.stack ? `${value.name}: ${value.message}\n${value.stack}`.trimEnd() : `${value.name}: ${value.message}`;
    if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
    if (value instanceof RegExp) return String(value);
    if (value instanceof Promise) return 'Promise {}';
    const next = [...seen, value];
    const item = (v) => inspect(v, depth + 1, next);
    if (depth > 4) return Array.isArray(value) ? '[Array]' : '[Object]';
    if (Array.isArray(value)) return `[${value.slice(0, 100).map(item).join(', ')}${value.length > 100 ? ', …' : ''}]`;
    if (value instanceof Map) return `Map(${value.size}) {${[...value].slice(0, 100).map(([k, v]) => `${item(k)} => ${item(v)}`).join(', ')}}`;
    if (value instanceof Set) return `Set(${value.size}) {${[...value].slice(0, 100).map(item).join(', ')}}`;
    if (ArrayBuffer.isView(value) && !(value instanceof DataView)) return `${value.constructor.name}(${value.length}) [${[...value.slice(0, 50)].join(', ')}]`;
    const keys = Object.keys(value).slice(0, 100);
    const name = value.constructor && value.constructor !== Object ? `${value.constructor.name} ` : '';
    const body = keys.map((k) => `${/^[A-Za-z_$][\w$]*$/.test(k) ? k : JSON.stringify(k)}: ${item(value[k])}`);
    return body.length === 0 ? `${name}{}` : `${name}{ ${body.join(', ')} }`;
  }

  return {
    inspect(value) {
      try {
        return inspect(value);
      } catch {
        return Object.prototype.toString.call(value);
      }
    },
  };
})();
