import { twice } from 'esm-only';
import cjs from 'cjs-only';
import { kind } from '@scope/conditions';
import sub from '@scope/conditions/sub';

export function register(gateway: any): void {
  gateway.register('w', async () => ({ esm: `esm:${twice(1)}`, cjs: `cjs:${cjs.twice(1)}`, scoped: kind, sub }));
}
