/**
 * How many inputs the property tests on hostile input try: a few in `make test`, many at night, and
 * as many as VMSPAN_FUZZ_RUNS says for whoever is after one of them:
 *
 *   VMSPAN_FUZZ_RUNS=1000000 make test T=test/shared/tracefs
 */
import { perNight } from "../../nightly.ts";

/** Per property; there are many of them. */
export const FUZZ_RUNS = Number(process.env.VMSPAN_FUZZ_RUNS ?? perNight(2000, 200_000));

/** Time limit of a test that runs them. */
export const FUZZ_TIMEOUT_MS = 10_000 + FUZZ_RUNS * 10;
