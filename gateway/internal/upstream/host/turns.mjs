// turns makes passes one at a time, until there are to be none any more. pass is an
// async function that gets one which says whether it is to stop.
export function turns(pass) {
  let over = false;
  let again = false;
  let current;
  const stop = () => over;

  async function work() {
    try {
      do {
        again = false;
        await pass(stop);
      } while (again && !over);
    } finally {
      current = undefined;
    }
  }

  return {
    // take makes a pass, or joins the one under way; news has another follow that one.
    take(news = false) {
      if (over) return Promise.resolve();
      if (current === undefined) current = work();
      else if (news) again = true;
      return current;
    },
    // end lets nothing more begin, and settles when the pass under way has ended.
    end() {
      over = true;
      return Promise.resolve(current).catch(() => {});
    },
  };
}
