// TypeScript loads as it is: no build step. Types are erased, not checked; run
// `tsc --noEmit` in your editor or CI for that.
import { summarise, type Reading } from "./summary";

interface Task {
  attempt: number;
  log(text: string): void;
}

interface Context<Input> {
  input: Input;
  task<T>(id: string, body: (task: Task) => T | Promise<T>, options?: object): Promise<T>;
  parallel<T>(branches: Array<() => Promise<T>>, options?: object): Promise<T[]>;
}

interface Gateway {
  register<Input>(key: string, workflow: (ctx: Context<Input>) => Promise<unknown>, options?: object): void;
}

export function register(gateway: Gateway): void {
  gateway.register<{ cities?: string[] }>("weather", async (ctx) => {
    const cities = ctx.input.cities ?? ["Oslo", "Lima"];
    const readings = await ctx.parallel(
      cities.map((city) => () => ctx.task(`measure-${city}`, ({ log }): Reading => {
        log(`measuring ${city}`);
        return { city, celsius: city.length * 4 };
      })),
      { max: 2 },
    );
    return summarise(readings);
  });
}
