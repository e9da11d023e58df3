// crypto: random numbers and digests.
return (() => {
  const { host, randomBytes, chunk } = internals;
  const integers = [Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array, BigInt64Array, BigUint64Array];

  const crypto = {
    getRandomValues(array) {
      if (!integers.some((type) => array instanceof type)) throw new TypeError('crypto.getRandomValues needs a typed array of integers');
      if (array.byteLength > 65536) throw new (chunk('events').DOMException)('getRandomValues: more than 65536 bytes', 'QuotaExceededError');
      randomBytes(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
      return array;
    },
    randomUUID() {
      const b = new Uint8Array(16);
      randomBytes(b);
      b[6] = (b[6] & 0x0f) | 0x40;
      b[8] = (b[8] & 0x3f) | 0x80;
      const hex = b.toHex();
      return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
    },
    subtle: {
      async digest(algorithm, data) {
        const name = typeof algorithm === 'object' && algorithm !== null ? algorithm.name : algorithm;
        const bytes = chunk('encoding').bytesOf(data);
        return Uint8Array.fromBase64(host('digest', String(name), bytes.toBase64())).buffer;
      },
    },
  };
  Object.freeze(crypto.subtle);
  return { crypto };
})();
