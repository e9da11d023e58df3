// Errors on their way between JavaScript and Go.

// ownText reads a property of a foreign value as a string; a getter that throws or
// a value that is no string gives "".
function ownText(value, name) {
  try {
    const v = value[name];
    return typeof v === 'string' || typeof v === 'number' ? toText(v) : '';
  } catch {
    return '';
  }
}

function describe(error, depth) {
  const out = plain({ message: '' });
  if (!isObject(error)) {
    out.name = 'Error';
    out.message = text(error);
    if (error === null) out.null = true;
    return out;
  }
  out.name = ownText(error, 'name') || 'Error';
  out.message = ownText(error, 'message');
  const code = ownText(error, 'code');
  if (code) out.code = code;
  const stack = ownText(error, 'stack');
  if (stack) out.stack = stack;
  try {
    if (error.noRetry === true) out.noRetry = true;
    if (isObject(error.details) && !isArray(error.details)) out.details = plain({ json: stringify(error.details) });
    if (error.cause !== undefined && depth < 5) out.cause = describe(error.cause, depth + 1);
  } catch {
    // A getter threw: what was read so far is enough.
  }
  if (!out.message) {
    try {
      if (!(error instanceof NativeError)) out.message = stringify(error) || text(error);
    } catch {
      out.message = text(error);
    }
  }
  return out;
}

function errorJSON(error) {
  return stringify(describe(error, 0));
}

// toError makes the Error that user code catches from a failure told by Go.
function toError(failure) {
  plain(failure);
  const error = new NativeError(failure.message);
  hide(error, 'name', failure.name || 'Error');
  if (failure.code) error.code = failure.code;
  if (failure.details !== undefined) error.details = failure.details;
  if (failure.noRetry) error.noRetry = true;
  if (failure.stack) hide(error, 'stack', failure.stack);
  if (failure.cause) hide(error, 'cause', toError(failure.cause));
  return error;
}

function parseFailure(json) {
  return toError(parse(json));
}

function coded(code, message, ErrorType = NativeError) {
  const error = new ErrorType(message);
  error.code = code;
  return error;
}

function reportUncaught(error) {
  host('uncaught', errorJSON(error));
}

// jsonOf is the JSON text of a value that leaves the VM; undefined stays undefined.
function jsonOf(value, what) {
  if (value === undefined) return undefined;
  let json;
  try {
    json = stringify(value);
  } catch (error) {
    throw new NativeTypeError(`${what} cannot be stored as JSON: ${ownText(error, 'message') || text(error)}. Return plain data (numbers, strings, arrays, objects).`);
  }
  return json;
}
