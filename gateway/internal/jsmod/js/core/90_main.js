// The one function Go calls. Everything crosses as strings, numbers and booleans.
function turn(kind, a, b, c, d, e, f, g, h, i) {
  switch (kind) {
    case 'start':
      turnIsTask = false;
      turnNo += 1;
      startRun(a, b, c, d, e, f, g, h, i);
      return 0;
    case 'settle':
      turnIsTask = false;
      turnNo += 1;
      journalMs = d;
      return settle(a, b, c) ? 0 : 1;
    case 'attempt':
      turnIsTask = true;
      turnNo += 1;
      startAttempt(a, b, c);
      return 0;
    case 'abort':
      turnIsTask = true;
      abortAttempt(a, b, c);
      return 0;
    case 'operation':
      turnIsTask = true;
      finishOperation(a, b, c);
      return 0;
    case 'effect':
      turnIsTask = true;
      effectReply(a, b, c);
      return 0;
    case 'module':
      seedRandom(a, b);
      return 0;
    case 'unhandled':
      host('unhandled', errorJSON(a));
      return 0;
    case 'chunk':
      takeChunk(a, b);
      return 0;
    default:
      throw new NativeTypeError(`unknown turn ${kind}`);
  }
}

installPromise();
installClock();
installGlobals(host('env'));
hide(globalThis, '__smithersModule', loadModule);
return turn;
