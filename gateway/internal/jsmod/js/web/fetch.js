// fetch and its classes. Bodies are read as a whole; nothing streams.
return (() => {
  const { operation, stopOperation, chunk, currentAttempt } = internals;
  const tokenChars = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

  class Headers {
    #map = new Map();
    constructor(init) {
      if (init === undefined || init === null) return;
      if (typeof init !== 'object') throw new TypeError('Headers: expected an object, pairs or Headers');
      if (typeof init[Symbol.iterator] === 'function') for (const [k, v] of init) this.append(k, v);
      else for (const k of Object.keys(init)) this.append(k, init[k]);
    }
    static #name(name) {
      if (!tokenChars.test(String(name))) throw new TypeError(`Headers: ${JSON.stringify(String(name))} is not a header name`);
      return String(name).toLowerCase();
    }
    static #value(value) {
      const v = String(value).trim();
      if (/[\r\n\0]/.test(v)) throw new TypeError('Headers: a value must not contain line breaks');
      return v;
    }
    append(name, value) {
      const k = Headers.#name(name);
      this.#map.set(k, [...(this.#map.get(k) ?? []), Headers.#value(value)]);
    }
    set(name, value) {
      this.#map.set(Headers.#name(name), [Headers.#value(value)]);
    }
    get(name) {
      return this.#map.get(Headers.#name(name))?.join(', ') ?? null;
    }
    getSetCookie() {
      return [...(this.#map.get('set-cookie') ?? [])];
    }
    has(name) {
      return this.#map.has(Headers.#name(name));
    }
    delete(name) {
      this.#map.delete(Headers.#name(name));
    }
    *entries() {
      for (const k of [...this.#map.keys()].sort()) {
        if (k === 'set-cookie') for (const v of this.#map.get(k)) yield [k, v];
        else yield [k, this.get(k)];
      }
    }
    *keys() {
      for (const [k] of this.entries()) yield k;
    }
    *values() {
      for (const [, v] of this.entries()) yield v;
    }
    forEach(fn, self) {
      for (const [k, v] of this.entries()) fn.call(self, v, k, this);
    }
    [Symbol.iterator]() {
      return this.entries();
    }
  }

  class FormData {
    #list = [];
    append(name, value) {
      this.#list.push([String(name), String(value)]);
    }
    set(name, value) {
      this.delete(name);
      this.append(name, value);
    }
    get(name) {
      return this.#list.find(([k]) => k === name)?.[1] ?? null;
    }
    getAll(name) {
      return this.#list.filter(([k]) => k === name).map(([, v]) => v);
    }
    has(name) {
      return this.#list.some(([k]) => k === name);
    }
    delete(name) {
      this.#list = this.#list.filter(([k]) => k !== name);
    }
    *entries() {
      for (const [k, v] of this.#list) yield [k, v];
    }
    [Symbol.iterator]() {
      return this.entries();
    }
  }

  // bodyOf turns a body into { text | bytes } and the content type it implies.
  async function bodyOf(body) {
    if (body === undefined || body === null) return { type: null };
    if (typeof body === 'string') return { text: body, type: 'text/plain;charset=UTF-8' };
    if (body instanceof URLSearchParams) return { text: body.toString(), type: 'application/x-www-form-urlencoded;charset=UTF-8' };
    if (body instanceof FormData) {
      const boundary = `----smithers${crypto.randomUUID()}`;
      const escape = (s) => s.replace(/[\r\n"]/g, (c) => `%${c.charCodeAt(0).toString(16).padStart(2, '0').toUpperCase()}`);
      let text = '';
      for (const [k, v] of body) text += `--${boundary}\r\nContent-Disposition: form-data; name="${escape(k)}"\r\n\r\n${v}\r\n`;
      return { text: `${text}--${boundary}--\r\n`, type: `multipart/form-data; boundary=${boundary}` };
    }
    if (body instanceof Blob) return { bytes: await body.bytes(), type: body.type || null };
    if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return { bytes: chunk('encoding').bytesOf(body).slice(), type: null };
    return { text: String(body), type: 'text/plain;charset=UTF-8' };
  }

  // Body is what Request and Response share.
  class Body {
    #content;
    #used = false;
    constructor(content) {
      this.#content = content;
    }
    static content(body) {
      return body.#content;
    }
    get bodyUsed() {
      return this.#used;
    }
    async #take() {
      if (this.#used) throw new TypeError('the body has already been read');
      this.#used = true;
      return this.#content;
    }
    async text() {
      const c = await this.#take();
      if (c.text !== undefined) return c.text;
      return c.bytes === undefined ? '' : chunk('encoding').decode(c.bytes);
    }
    async json() {
      return JSON.parse(await this.text());
    }
    async bytes() {
      const c = await this.#take();
      return c.bytes ?? chunk('encoding').encode(c.text ?? '');
    }
    async arrayBuffer() {
      return (await this.bytes()).slice().buffer;
    }
    async blob() {
      return new Blob([await this.bytes()], { type: this.headers.get('content-type') ?? '' });
    }
    async formData() {
      const out = new FormData();
      for (const [k, v] of new URLSearchParams(await this.text())) out.append(k, v);
      return out;
    }
  }

  function syncContent(body) {
    if (body === undefined || body === null) return {};
    if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return { bytes: chunk('encoding').bytesOf(body).slice() };
    return { text: String(body) };
  }

  class Response extends Body {
    #init;
    constructor(body, init = {}) {
      super(init?.content ?? syncContent(body));
      const status = init?.status ?? 200;
      if (!Number.isInteger(status) || status < 200 || status > 599) {
        if (!init?.content) throw new RangeError('Response: status must be from 200 to 599');
      }
      this.#init = { status, statusText: String(init?.statusText ?? ''), url: init?.url ?? '', redirected: Boolean(init?.redirected) };
      this.headers = new Headers(init?.headers);
      if (typeof body === 'string' && !this.headers.has('content-type')) this.headers.set('content-type', 'text/plain;charset=UTF-8');
    }
    get status() {
      return this.#init.status;
    }
    get statusText() {
      return this.#init.statusText;
    }
    get ok() {
      return this.status >= 200 && this.status < 300;
    }
    get url() {
      return this.#init.url;
    }
    get redirected() {
      return this.#init.redirected;
    }
    get type() {
      return 'default';
    }
    clone() {
      if (this.bodyUsed) throw new TypeError('the body has already been read');
      return new Response(undefined, { ...this.#init, headers: this.headers, content: Body.content(this) });
    }
    static json(data, init = {}) {
      const r = new Response(JSON.stringify(data), init);
      if (!new Headers(init?.headers).has('content-type')) r.headers.set('content-type', 'application/json');
      return r;
    }
    static error() {
      return new Response(undefined, { status: 0, content: {} });
    }
  }

  class Request {
    constructor(input, init = {}) {
      const from = input instanceof Request ? input : {};
      const o = init ?? {};
      this.url = input instanceof Request ? input.url : new URL(String(input)).href;
      this.method = String(o.method ?? from.method ?? 'GET');
      if (!tokenChars.test(this.method)) throw new TypeError(`Request: ${JSON.stringify(this.method)} is not a method`);
      if (['get', 'head', 'post', 'put', 'delete', 'options', 'patch'].includes(this.method.toLowerCase())) this.method = this.method.toUpperCase();
      this.headers = new Headers(o.headers ?? from.headers);
      this.redirect = String(o.redirect ?? from.redirect ?? 'follow');
      if (!['follow', 'manual', 'error'].includes(this.redirect)) throw new TypeError('Request: redirect must be follow, manual or error');
      this.signal = o.signal ?? from.signal ?? null;
      this.body = o.body ?? from.body ?? null;
      if (this.body !== null && (this.method === 'GET' || this.method === 'HEAD')) throw new TypeError(`Request: ${this.method} cannot have a body`);
    }
    clone() {
      return new Request(this);
    }
    async text() {
      return new Response(undefined, { content: await bodyOf(this.body) }).text();
    }
    async json() {
      return JSON.parse(await this.text());
    }
    async arrayBuffer() {
      return new Response(undefined, { content: await bodyOf(this.body) }).arrayBuffer();
    }
  }

  async function fetch(input, init) {
    internals.needTask('fetch');
    const request = new Request(input, init);
    const attempt = currentAttempt();
    if (request.signal?.aborted) throw request.signal.reason;
    if (attempt?.aborted) throw attempt.reason;
    const content = await bodyOf(request.body);
    if (content.type && !request.headers.has('content-type')) request.headers.set('content-type', content.type);
    const headers = [];
    for (const pair of request.headers) headers.push(pair);
    const op = operation('fetch', JSON.stringify({
      url: request.url, method: request.method, headers, redirect: request.redirect, text: content.text, base64: content.bytes?.toBase64(),
    }));
    request.signal?.addEventListener('abort', () => stopOperation(op.id, true), { once: true });
    let r;
    try {
      r = await op.promise;
    } catch (error) {
      if (request.signal?.aborted) throw request.signal.reason;
      throw error;
    }
    const bytes = r.base64 === undefined ? undefined : Uint8Array.fromBase64(r.base64);
    return new Response(undefined, {
      status: r.status, statusText: r.statusText, headers: r.headers, url: r.url, redirected: r.redirected, content: { text: r.text, bytes },
    });
  }
  return { fetch, Headers, Request, Response, FormData, };
})();
