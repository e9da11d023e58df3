// exec: a program that the operator allowed by name.
return (() => {
  const { operation, options, bad, kindOf, needTask } = internals;
  const table = { __proto__: null, input: 'text', cwd: 'name', env: 'object', timeoutMs: 'ms', stream: 'flag', signal: 'object' };

  async function exec(program, args = [], opts = undefined) {
    needTask('exec');
    if (typeof program !== 'string' || program === '') throw bad('exec', `program (1st argument) must be a non-empty string, got ${kindOf(program)}`);
    if (!Array.isArray(args)) throw bad('exec', `args (2nd argument) must be an array of strings, got ${kindOf(args)}`);
    const list = args.map((a) => {
      if (typeof a === 'string' || typeof a === 'number') return String(a);
      throw bad('exec', `args (2nd argument) must be an array of strings, it holds ${kindOf(a)}`);
    });
    const o = options('exec', opts, table);
    const signal = o.signal;
    delete o.signal;
    signal?.throwIfAborted();
    if (o.timeoutMs !== undefined) o.timeoutMs = Math.floor(o.timeoutMs);
    if (o.env !== undefined) o.env = Object.fromEntries(Object.entries(o.env).map(([k, v]) => [k, String(v)]));
    const op = operation('exec', JSON.stringify({ ...o, program, args: list }));
    signal?.addEventListener('abort', () => internals.stopOperation(op.id, true), { once: true });
    try {
      return await op.promise;
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw error;
    }
  }
  return { exec };
})();
