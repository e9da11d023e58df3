// each looks at runs one after the other. A run with which something is the matter, such
// as a row that cannot be read, is told to complain and holds up no other.
export async function each(runs, look, complain) {
  for (const run of runs) {
    try {
      await look(run);
    } catch (error) {
      complain(run, error);
    }
  }
}
