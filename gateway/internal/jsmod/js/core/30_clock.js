// The clock and the dice. In workflow code both belong to the journal: the time is
// that of the settlement that woke the code and stands still until the next one;
// random numbers come from a generator seeded with the run. Inside tasks they are
// real.
let turnNo = 0; // 0 while the module loads
let turnIsTask = true; // kind of the current turn; module level counts as a task
let journalMs = 0;
let startMs = 0;
const originMs = nativeDateNow();

// inTask tells whether the running code belongs to a task body.
function inTask() {
  return zone === null ? turnIsTask : zone.attempt !== null;
}

function now() {
  return inTask() ? nativeDateNow() : journalMs;
}

function timeOrigin() {
  return inTask() ? originMs : startMs;
}

function performanceNow() {
  return inTask() ? nativeDateNow() - originMs : journalMs - startMs;
}

// sfc32, a small generator of good quality; state is four 32-bit words. It is stirred when
// the first number is drawn: few runs draw one.
let stirred = true;
let s0 = 0;
let s1 = 0;
let s2 = 0;
let s3 = 1;

function next32() {
  if (!stirred) {
    stirred = true;
    for (let i = 0; i < 12; i++) next32();
  }
  const t = (((s0 + s1) | 0) + s3) | 0;
  s3 = (s3 + 1) | 0;
  s0 = s1 ^ (s1 >>> 9);
  s1 = (s2 + (s2 << 3)) | 0;
  s2 = (s2 << 21) | (s2 >>> 11);
  s2 = (s2 + t) | 0;
  return t >>> 0;
}

function seedRandom(high, low) {
  s0 = high | 0;
  s1 = low | 0;
  s2 = imul(high ^ 0x9e3779b9, 0x85ebca6b) | 0;
  s3 = 1;
  stirred = false;
}

// realDice tells whether random numbers are not the journal's. Workflow code that a
// task body has woken must not draw from the run's generator either: in a replay the
// body does not run and would leave the generator behind.
function realDice() {
  return turnIsTask || inTask();
}

function random() {
  if (turnNo > 0 && realDice()) return nativeRandom();
  return (floor(next32() / 32) * 67108864 + floor(next32() / 64)) / 9007199254740992;
}

// randomBytes fills an array of bytes, from the run's generator in workflow code and
// from the operating system elsewhere.
function randomBytes(bytes) {
  if (realDice()) {
    const hex = host('random', bytes.length);
    for (let i = 0; i < bytes.length; i++) bytes[i] = parseHex(hex, i * 2);
    return;
  }
  for (let i = 0; i < bytes.length; i++) bytes[i] = next32() >>> 24;
}

const charCodeAt = uncurry(String.prototype.charCodeAt);

function parseHex(hex, at) {
  const digit = (c) => (c < 58 ? c - 48 : c - 87);
  return digit(charCodeAt(hex, at)) * 16 + digit(charCodeAt(hex, at + 1));
}

const JournalDate = function Date(...args) {
  if (new.target === undefined) return toText(new NativeDate(now()));
  const target = new.target === JournalDate ? NativeDate : new.target;
  return construct(NativeDate, args.length === 0 ? [now()] : args, target);
};

function installClock() {
  defineProperty(JournalDate, 'prototype', plain({ value: NativeDate.prototype, writable: false }));
  defineProperty(JournalDate, 'length', plain({ value: 7, configurable: true }));
  hide(JournalDate, 'now', function now_() {
    return now();
  });
  hide(JournalDate, 'parse', NativeDate.parse);
  hide(JournalDate, 'UTC', NativeDate.UTC);
  hide(NativeDate.prototype, 'constructor', JournalDate);
  hide(globalThis, 'Date', JournalDate);
  hide(Math, 'random', random);
}
