// Blob and File, in memory.
return (() => {
  const { chunk } = internals;

  class Blob {
    #bytes;
    #type;
    constructor(parts = [], options = {}) {
      if (typeof parts !== 'object' || parts === null || typeof parts[Symbol.iterator] !== 'function') throw new TypeError('Blob: parts must be an array');
      const pieces = [];
      for (const part of parts) {
        if (part instanceof Blob) pieces.push(part.#bytes);
        else if (part instanceof ArrayBuffer || ArrayBuffer.isView(part)) pieces.push(chunk('encoding').bytesOf(part).slice());
        else pieces.push(chunk('encoding').encode(part));
      }
      this.#bytes = new Uint8Array(pieces.reduce((n, p) => n + p.length, 0));
      let at = 0;
      for (const p of pieces) {
        this.#bytes.set(p, at);
        at += p.length;
      }
      this.#type = String(options?.type ?? '').toLowerCase();
    }
    get size() {
      return this.#bytes.length;
    }
    get type() {
      return this.#type;
    }
    slice(start, end, type = '') {
      return new Blob([this.#bytes.slice(start, end)], { type });
    }
    text() {
      return Promise.resolve(chunk('encoding').decode(this.#bytes));
    }
    arrayBuffer() {
      return Promise.resolve(this.#bytes.slice().buffer);
    }
    bytes() {
      return Promise.resolve(this.#bytes.slice());
    }
  }

  class File extends Blob {
    #name;
    constructor(parts, name, options = {}) {
      super(parts, options);
      this.#name = String(name);
      this.lastModified = options?.lastModified ?? Date.now();
    }
    get name() {
      return this.#name;
    }
  }
  return { Blob, File };
})();
