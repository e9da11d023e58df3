// Text and bytes.
return (() => {
  const { chunk } = internals;

  function encode(text) {
    const s = String(text).toWellFormed();
    const out = new Uint8Array(s.length * 3);
    let n = 0;
    for (let i = 0; i < s.length; i++) {
      let c = s.charCodeAt(i);
      if (c < 0x80) {
        out[n++] = c;
        continue;
      }
      if (c >= 0xd800 && c < 0xdc00) {
        c = 0x10000 + ((c - 0xd800) << 10) + (s.charCodeAt(++i) - 0xdc00);
        out[n++] = 0xf0 | (c >> 18);
        out[n++] = 0x80 | ((c >> 12) & 63);
      } else if (c < 0x800) {
        out[n++] = 0xc0 | (c >> 6);
        out[n++] = 0x80 | (c & 63);
        continue;
      } else {
        out[n++] = 0xe0 | (c >> 12);
      }
      if (c < 0x10000) out[n++] = 0x80 | ((c >> 6) & 63);
      else out[n++] = 0x80 | ((c >> 6) & 63);
      out[n++] = 0x80 | (c & 63);
    }
    return out.slice(0, n);
  }

  function bytesOf(input) {
    if (input === undefined) return new Uint8Array(0);
    if (input instanceof ArrayBuffer || (typeof SharedArrayBuffer !== 'undefined' && input instanceof SharedArrayBuffer)) return new Uint8Array(input);
    if (ArrayBuffer.isView(input)) return new Uint8Array(input.buffer, input.byteOffset, input.byteLength);
    throw new TypeError('expected an ArrayBuffer or a view of one');
  }

  // decodeUTF8 follows the "maximal subpart" rule: each maximal invalid sequence is one
  // replacement character. rest receives bytes of an unfinished sequence when streaming.
  function decodeUTF8(bytes, fatal, stream) {
    const parts = [];
    let units = [];
    const emit = (c) => {
      if (c > 0xffff) units.push(0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
      else units.push(c);
      if (units.length > 8000) {
        parts.push(String.fromCharCode.apply(null, units));
        units = [];
      }
    };
    let i = 0;
    while (i < bytes.length) {
      const b = bytes[i];
      if (b < 0x80) {
        emit(b);
        i++;
        continue;
      }
      let need = 0;
      let c = 0;
      let low = 0x80;
      let high = 0xbf;
      if (b >= 0xc2 && b <= 0xdf) [need, c] = [1, b & 0x1f];
      else if (b >= 0xe0 && b <= 0xef) {
        [need, c] = [2, b & 0xf];
        if (b === 0xe0) low = 0xa0;
        if (b === 0xed) high = 0x9f;
      } else if (b >= 0xf0 && b <= 0xf4) {
        [need, c] = [3, b & 7];
        if (b === 0xf0) low = 0x90;
        if (b === 0xf4) high = 0x8f;
      }
      let j = i + 1;
      let bad = need === 0;
      for (let k = 0; k < need; k++, j++) {
        if (j >= bytes.length) {
          if (stream) return { text: parts.join('') + String.fromCharCode.apply(null, units), rest: bytes.slice(i) };
          bad = true;
          break;
        }
        if (bytes[j] < low || bytes[j] > high) {
          bad = true;
          break;
        }
        low = 0x80;
        high = 0xbf;
        c = (c << 6) | (bytes[j] & 63);
      }
      if (bad) {
        if (fatal) throw new TypeError('The encoded data was not valid for encoding utf-8');
        emit(0xfffd);
      } else emit(c);
      i = j;
    }
    return { text: parts.join('') + String.fromCharCode.apply(null, units), rest: new Uint8Array(0) };
  }

  class TextEncoder {
    get encoding() {
      return 'utf-8';
    }
    encode(text = '') {
      return encode(text);
    }
    encodeInto(text, target) {
      let read = 0;
      let written = 0;
      for (const ch of String(text)) {
        const bytes = encode(ch);
        if (written + bytes.length > target.length) break;
        target.set(bytes, written);
        written += bytes.length;
        read += ch.length;
      }
      return { read, written };
    }
  }

  const labels = { 'utf-8': 'utf-8', utf8: 'utf-8', 'unicode-1-1-utf-8': 'utf-8', 'utf-16le': 'utf-16le', 'utf-16': 'utf-16le', latin1: 'latin1', 'iso-8859-1': 'latin1', ascii: 'latin1', 'us-ascii': 'latin1' };

  class TextDecoder {
    #encoding;
    #rest = new Uint8Array(0);
    #started = false;
    constructor(label = 'utf-8', options = {}) {
      this.#encoding = labels[String(label).trim().toLowerCase()];
      if (this.#encoding === undefined) throw new RangeError(`TextDecoder: encoding ${label} is not supported; use utf-8, utf-16le or latin1`);
      this.fatal = Boolean(options?.fatal);
      this.ignoreBOM = Boolean(options?.ignoreBOM);
    }
    get encoding() {
      return this.#encoding === 'latin1' ? 'windows-1252' : this.#encoding;
    }
    decode(input, options = {}) {
      const stream = Boolean(options?.stream);
      const fresh = bytesOf(input);
      const bytes = new Uint8Array(this.#rest.length + fresh.length);
      bytes.set(this.#rest);
      bytes.set(fresh, this.#rest.length);
      let text = '';
      this.#rest = new Uint8Array(0);
      if (this.#encoding === 'utf-8') {
        const r = decodeUTF8(bytes, this.fatal, stream);
        text = r.text;
        this.#rest = r.rest;
      } else if (this.#encoding === 'latin1') {
        for (let i = 0; i < bytes.length; i += 8000) text += String.fromCharCode.apply(null, bytes.subarray(i, i + 8000));
      } else {
        const even = bytes.length & ~1;
        for (let i = 0; i < even; i += 2) text += String.fromCharCode(bytes[i] | (bytes[i + 1] << 8));
        if (even < bytes.length && stream) this.#rest = bytes.slice(even);
      }
      if (!this.#started && !this.ignoreBOM && text.charCodeAt(0) === 0xfeff) text = text.slice(1);
      this.#started = stream && (this.#started || text !== '');
      return text;
    }
  }

  function btoa(text) {
    const s = String(text);
    const bytes = new Uint8Array(s.length);
    for (let i = 0; i < s.length; i++) {
      const c = s.charCodeAt(i);
      if (c > 255) throw new (chunk('events').DOMException)('btoa: the text has characters outside of Latin-1', 'InvalidCharacterError');
      bytes[i] = c;
    }
    return bytes.toBase64();
  }

  function atob(text) {
    const s = String(text).replace(/[\t\n\f\r ]+/g, '').replace(/={1,2}$/, '');
    let bytes;
    try {
      if (s.includes('=')) throw new SyntaxError('padding');
      bytes = Uint8Array.fromBase64(s);
    } catch {
      throw new (chunk('events').DOMException)('atob: the text is not valid base64', 'InvalidCharacterError');
    }
    let out = '';
    for (let i = 0; i < bytes.length; i += 8000) out += String.fromCharCode.apply(null, bytes.subarray(i, i + 8000));
    return out;
  }

  return { TextEncoder, TextDecoder, atob, btoa, encode, bytesOf, decode: (b) => decodeUTF8(b, false, false).text };
})();
