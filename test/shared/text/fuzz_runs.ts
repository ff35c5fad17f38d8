// How many inputs the property tests on hostile input try: a few in `make test`, many at night.

/** VMSPAN_FUZZ_RUNS, or 2,000. */
export const FUZZ_RUNS = Number(process.env.VMSPAN_FUZZ_RUNS ?? 2000);

/** Time limit of a test that runs them. */
export const FUZZ_TIMEOUT_MS = 10_000 + FUZZ_RUNS * 10;
