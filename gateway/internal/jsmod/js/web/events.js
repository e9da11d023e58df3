// Events and abort signals.
return (() => {
  const { startTimer, reportUncaught, hide } = internals;
  const codes = { IndexSizeError: 1, NotFoundError: 8, NotSupportedError: 9, InvalidStateError: 11, SyntaxError: 12, InvalidAccessError: 15, NetworkError: 19, AbortError: 20, TimeoutError: 23, DataCloneError: 25 };

  class DOMException extends Error {
    #name;
    constructor(message = '', name = 'Error') {
      super(String(message));
      this.#name = typeof name === 'object' && name !== null ? (name.name ?? 'Error') : String(name);
      if (typeof name === 'object' && name !== null && 'cause' in name) hide(this, 'cause', name.cause);
    }
    get name() {
      return this.#name;
    }
    get code() {
      return codes[this.#name] ?? 0;
    }
  }

  class Event {
    #type;
    #options;
    constructor(type, options = {}) {
      this.#type = String(type);
      this.#options = options ?? {};
      this.timeStamp = performance.now();
      hide(this, '_state', { target: null, prevented: false, stopped: false });
    }
    get type() {
      return this.#type;
    }
    get bubbles() {
      return Boolean(this.#options.bubbles);
    }
    get cancelable() {
      return Boolean(this.#options.cancelable);
    }
    get target() {
      return this._state.target;
    }
    get currentTarget() {
      return this._state.target;
    }
    get defaultPrevented() {
      return this._state.prevented;
    }
    preventDefault() {
      if (this.cancelable) this._state.prevented = true;
    }
    stopPropagation() {}
    stopImmediatePropagation() {
      this._state.stopped = true;
    }
  }

  class CustomEvent extends Event {
    #detail;
    constructor(type, options = {}) {
      super(type, options);
      this.#detail = options?.detail ?? null;
    }
    get detail() {
      return this.#detail;
    }
  }

  class EventTarget {
    #listeners = new Map();
    addEventListener(type, listener, options) {
      if (listener === null || listener === undefined) return;
      const once = typeof options === 'object' && options !== null && Boolean(options.once);
      const signal = typeof options === 'object' && options !== null ? options.signal : undefined;
      if (signal?.aborted) return;
      const list = this.#listeners.get(String(type)) ?? [];
      if (list.some((l) => l.listener === listener)) return;
      this.#listeners.set(String(type), [...list, { listener, once }]);
      signal?.addEventListener('abort', () => this.removeEventListener(type, listener), { once: true });
    }
    removeEventListener(type, listener) {
      const list = this.#listeners.get(String(type));
      if (list) this.#listeners.set(String(type), list.filter((l) => l.listener !== listener));
    }
    dispatchEvent(event) {
      if (!(event instanceof Event)) throw new TypeError('dispatchEvent needs an Event');
      event._state.target = this;
      const call = (listener) => {
        try {
          if (typeof listener === 'function') listener.call(this, event);
          else listener.handleEvent(event);
        } catch (error) {
          reportUncaught(error);
        }
      };
      if (typeof this[`on${event.type}`] === 'function') call(this[`on${event.type}`]);
      for (const { listener, once } of this.#listeners.get(event.type) ?? []) {
        if (event._state.stopped) break;
        if (once) this.removeEventListener(event.type, listener);
        call(listener);
      }
      return !event.defaultPrevented;
    }
  }

  const secret = {};
  const doAbort = (signal, reason) => signal._abort(secret, reason);

  class AbortSignal extends EventTarget {
    #aborted = false;
    #reason;
    onabort = null;
    constructor(key) {
      super();
      if (key !== secret) throw new TypeError('Illegal constructor');
    }
    get aborted() {
      return this.#aborted;
    }
    get reason() {
      return this.#reason;
    }
    throwIfAborted() {
      if (this.#aborted) throw this.#reason;
    }
    _abort(key, reason) {
      if (key !== secret || this.#aborted) return;
      this.#aborted = true;
      this.#reason = reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason;
      this.dispatchEvent(new Event('abort'));
    }
    static abort(reason) {
      const s = new AbortSignal(secret);
      doAbort(s, reason);
      return s;
    }
    static timeout(ms) {
      const s = new AbortSignal(secret);
      startTimer('AbortSignal.timeout', () => doAbort(s, new DOMException('The operation timed out', 'TimeoutError')), ms, false, []);
      return s;
    }
    static any(signals) {
      const s = new AbortSignal(secret);
      for (const other of signals) {
        if (other.aborted) {
          doAbort(s, other.reason);
          break;
        }
        other.addEventListener('abort', () => doAbort(s, other.reason), { once: true });
      }
      return s;
    }
  }
  hide(AbortSignal.prototype, '_abort', AbortSignal.prototype._abort);

  class AbortController {
    #signal = new AbortSignal(secret);
    get signal() {
      return this.#signal;
    }
    abort(reason) {
      doAbort(this.#signal, reason);
    }
  }

  const newController = () => {
    const signal = new AbortSignal(secret);
    return { signal, abort: (reason) => doAbort(signal, reason) };
  };

  return { DOMException, Event, CustomEvent, EventTarget, AbortSignal, AbortController, newController };
})();
