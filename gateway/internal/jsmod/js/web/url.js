// URL and URLSearchParams. Go parses, by the rules of the URL standard.
return (() => {
  const { host, hide } = internals;
  const encoder = (s) => encodeURIComponent(s).replace(/[!'()~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`).replace(/%20/g, '+');
  const decoder = (s) => {
    const spaced = s.replace(/\+/g, ' ');
    try {
      return decodeURIComponent(spaced);
    } catch {
      return spaced.replace(/%[0-9a-fA-F]{2}/g, (m) => {
        try {
          return decodeURIComponent(m);
        } catch {
          return '\ufffd';
        }
      });
    }
  };

  class URLSearchParams {
    #list = [];
    constructor(init = '') {
      hide(this, '_changed', null);
      if (init === null || init === undefined) return;
      if (typeof init === 'object') {
        if (typeof init[Symbol.iterator] === 'function') {
          for (const pair of init) {
            const [k, v, ...more] = pair;
            if (v === undefined || more.length > 0) throw new TypeError('URLSearchParams: each item must be a [name, value] pair');
            this.#list.push([String(k), String(v)]);
          }
        } else for (const k of Object.keys(init)) this.#list.push([k, String(init[k])]);
      } else this._parse(String(init));
    }
    _parse(text) {
      this.#list = [];
      for (const part of text.replace(/^\?/, '').split('&')) {
        if (part === '') continue;
        const at = part.indexOf('=');
        this.#list.push(at < 0 ? [decoder(part), ''] : [decoder(part.slice(0, at)), decoder(part.slice(at + 1))]);
      }
    }
    #update() {
      this._changed?.(this.toString());
    }
    get size() {
      return this.#list.length;
    }
    append(name, value) {
      this.#list.push([String(name), String(value)]);
      this.#update();
    }
    delete(name, value) {
      this.#list = this.#list.filter(([k, v]) => !(k === String(name) && (value === undefined || v === String(value))));
      this.#update();
    }
    get(name) {
      return this.#list.find(([k]) => k === String(name))?.[1] ?? null;
    }
    getAll(name) {
      return this.#list.filter(([k]) => k === String(name)).map(([, v]) => v);
    }
    has(name, value) {
      return this.#list.some(([k, v]) => k === String(name) && (value === undefined || v === String(value)));
    }
    set(name, value) {
      const at = this.#list.findIndex(([k]) => k === String(name));
      if (at < 0) this.#list.push([String(name), String(value)]);
      else {
        this.#list[at][1] = String(value);
        this.#list = this.#list.filter(([k], i) => i <= at || k !== String(name));
      }
      this.#update();
    }
    sort() {
      this.#list.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
      this.#update();
    }
    forEach(fn, self) {
      for (const [k, v] of this.#list) fn.call(self, v, k, this);
    }
    *entries() {
      for (const [k, v] of this.#list) yield [k, v];
    }
    *keys() {
      for (const [k] of this.#list) yield k;
    }
    *values() {
      for (const [, v] of this.#list) yield v;
    }
    [Symbol.iterator]() {
      return this.entries();
    }
    toString() {
      return this.#list.map(([k, v]) => `${encoder(k)}=${encoder(v)}`).join('&');
    }
    get [Symbol.toStringTag]() {
      return 'URLSearchParams';
    }
  }
  hide(URLSearchParams.prototype, '_parse', URLSearchParams.prototype._parse);

  class URL {
    #parts;
    #params;
    constructor(url, base) {
      const json = host('url', 'parse', String(url), base === undefined ? '' : String(base));
      if (json === null) {
        const error = new TypeError(`Invalid URL: ${String(url)}`);
        error.code = 'ERR_INVALID_URL';
        throw error;
      }
      this.#parts = JSON.parse(json);
    }
    static canParse(url, base) {
      return host('url', 'parse', String(url), base === undefined ? '' : String(base)) !== null;
    }
    static parse(url, base) {
      return URL.canParse(url, base) ? new URL(url, base) : null;
    }
    #set(part, value) {
      const json = host('url', 'set', this.#parts.href, part, String(value));
      if (json !== null) this.#parts = JSON.parse(json);
      if (part === 'search' && this.#params) this.#params._parse(this.#parts.search);
    }
    get href() {
      return this.#parts.href;
    }
    set href(value) {
      this.#parts = new URL(value).#parts;
      this.#params?._parse(this.#parts.search);
    }
    get origin() {
      return this.#parts.origin;
    }
    get searchParams() {
      if (!this.#params) {
        this.#params = new URLSearchParams(this.#parts.search);
        hide(this.#params, '_changed', (text) => {
          const json = host('url', 'set', this.#parts.href, 'search', text);
          if (json !== null) this.#parts = JSON.parse(json);
        });
      }
      return this.#params;
    }
    toString() {
      return this.href;
    }
    toJSON() {
      return this.href;
    }
    static #part(name) {
      Object.defineProperty(URL.prototype, name, {
        configurable: true,
        enumerable: true,
        get() {
          return this.#parts[name];
        },
        set(value) {
          this.#set(name, value);
        },
      });
    }
    static {
      for (const name of ['protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'hash']) URL.#part(name);
    }
    get [Symbol.toStringTag]() {
      return 'URL';
    }
  }
  return { URL, URLSearchParams };
})();
