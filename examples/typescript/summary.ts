export type Reading = { city: string; celsius: number };

export function summarise(readings: Reading[]): { warmest: string; mean: number } {
  const warmest = readings.reduce((a, b) => (b.celsius > a.celsius ? b : a));
  return { warmest: warmest.city, mean: readings.reduce((sum, r) => sum + r.celsius, 0) / readings.length };
}
