/** From measurements to rows of the table, with their targets. */
import { SINK_TITLES } from "./agent.ts";
import type { IdleCost } from "./agent_life.ts";
import type { Run, Series } from "./guest_side.ts";
import type { HostRun } from "./host_side.ts";
import { formatNumber, formatRate, median, medianRatio } from "./statistics.ts";
import type { Row } from "./table.ts";

/** What `make bench` holds the agents to. */
export const TARGETS = {
  floorRatioMax: 1.5,
  pacedNsMax: 120,
  pairsPerSecondMin: 4e6,
  linesPerSecondMin: 400e3,
  keyNsMax: 25,
  firstEventMsMax: 100,
  idleCpuPercentMax: 0.5,
  idleBytesPerSecondMax: 2000,
  residentMbMax: 60,
} as const;

const FULL_SPEED = "guest: CPU per event, full speed, rings of 4 MiB";
const PACED = "guest: CPU per event, paced";
const LIFE = "guest: start and idle";
const HOST = "host: from recorded files, one core, start included";

function costs(runs: readonly Run[]): number[] {
  return runs.map((run) => run.cpuNsPerEvent);
}

function lostIn(runs: readonly Run[]): number | undefined {
  if (runs.some((run) => run.lost === undefined)) return undefined;
  return runs.reduce((sum, run) => sum + run.lost!, 0);
}

function lostText(runs: readonly Run[]): string {
  const lost = lostIn(runs);
  if (runs.length === 0) return "";
  return lost === undefined ? "loss unknown" : `lost ${lost}`;
}

function floorText(runs: readonly Run[], floor: readonly number[]): string {
  const ratio = medianRatio(costs(runs), floor);
  const shown = ratio === undefined ? "" : ` (x ${ratio.toFixed(2)})`;
  return `floor ${formatNumber(median(floor))}${shown}`;
}

/** The cheapest peer's cost. They write files, so a device's floor is above some of them. */
function cheapestPeerNs(series: readonly Series[]): number | undefined {
  const peers = series.filter((each) => !each.isAgent).map((each) => median(costs(each.fullSpeed)));
  const known = peers.filter((ns) => ns !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

function fullSpeedRow(each: Series, peerNs: number | undefined): Row {
  const runs = each.fullSpeed;
  const ns = median(costs(runs));
  const ratio = medianRatio(costs(runs), each.floor);
  const beside = [floorText(runs, each.floor), lostText(runs)].filter(Boolean).join(", ");
  const isBelowPeers =
    each.sink === "pty" || peerNs === undefined || ns === undefined || ns < peerNs;
  const isMet =
    ratio === undefined
      ? undefined
      : ratio <= TARGETS.floorRatioMax && isBelowPeers && lostIn(runs) === 0;
  const peers = each.sink === "pty" ? "" : ", below peers";
  return {
    group: FULL_SPEED,
    name: SINK_TITLES[each.sink],
    value: `${formatNumber(ns)} ns`,
    beside: each.failure ?? beside,
    target: `<= x ${TARGETS.floorRatioMax}${peers}, lost 0`,
    isMet,
  };
}

function pacedRow(each: Series): Row {
  const ns = median(costs(each.paced));
  const beside = [floorText(each.paced, each.pacedFloor), lostText(each.paced)];
  const isMet = ns === undefined ? undefined : ns <= TARGETS.pacedNsMax && lostIn(each.paced) === 0;
  return {
    group: PACED,
    name: SINK_TITLES[each.sink],
    value: `${formatNumber(ns)} ns`,
    beside: each.failure ?? beside.filter(Boolean).join(", "),
    target: `<= ${TARGETS.pacedNsMax} ns, lost 0`,
    isMet,
  };
}

function peerRow(each: Series, group: string, runs: readonly Run[]): Row {
  const value = `${formatNumber(median(costs(runs)))} ns`;
  const beside = each.failure ?? lostText(runs);
  return { group, name: each.name, value, beside, target: "", isMet: undefined };
}

/** Rows of the guest's half. */
export function guestRows(series: readonly Series[]): Row[] {
  const peerNs = cheapestPeerNs(series);
  const agents = series.filter((each) => each.isAgent);
  const peers = series.filter((each) => !each.isAgent);
  return [
    ...agents.map((each) => fullSpeedRow(each, peerNs)),
    ...peers.map((each) => peerRow(each, FULL_SPEED, each.fullSpeed)),
    ...agents.map(pacedRow),
    ...peers.map((each) => peerRow(each, PACED, each.paced)),
  ];
}

/** Rows of start and idle. */
export function lifeRows(firstEventMs: readonly number[], idle: IdleCost | undefined): Row[] {
  const firstMs = median(firstEventMs);
  const megabytes = idle === undefined ? undefined : idle.residentBytes / 1e6;
  const row = (name: string, value: number | undefined, unit: string, max: number): Row => ({
    group: LIFE,
    name,
    value: `${unit === "%" ? (value?.toFixed(2) ?? "-") : formatNumber(value)} ${unit}`,
    beside: "",
    target: `<= ${max} ${unit}`,
    isMet: value === undefined ? undefined : value <= max,
  });
  return [
    row("start to first event in the file", firstMs, "ms", TARGETS.firstEventMsMax),
    row("idle CPU, attached", idle?.cpuPercent, "%", TARGETS.idleCpuPercentMax),
    row("idle channel", idle?.bytesPerSecond, "B/s", TARGETS.idleBytesPerSecondMax),
    row("resident memory, idle", megabytes, "MB", TARGETS.residentMbMax),
  ];
}

/** Rows of the host's half. */
export function hostRows(
  pairing: readonly HostRun[],
  printing: readonly HostRun[],
  keyNs: number | undefined,
): Row[] {
  const row = (name: string, what: string, runs: readonly HostRun[], min: number): Row => {
    const perSecond = median(runs.map((run) => run.perSecond));
    const cpuNs = median(runs.map((run) => run.cpuNsPerEvent));
    return {
      group: HOST,
      name,
      value: `${formatRate(perSecond)} ${what}/s`,
      beside: cpuNs === undefined ? "" : `${formatNumber(cpuNs)} ns CPU each`,
      target: `>= ${formatRate(min)}`,
      isMet: perSecond === undefined ? undefined : perSecond >= min,
    };
  };
  return [
    row("decode, merge, pair, histogram", "events", pairing, TARGETS.pairsPerSecondMin),
    row("trace to /dev/null", "lines", printing, TARGETS.linesPerSecondMin),
    {
      group: HOST,
      name: "key expression of an MSI",
      value: `${formatNumber(keyNs)} ns`,
      beside: "a part of the first",
      target: `<= ${TARGETS.keyNsMax} ns`,
      isMet: keyNs === undefined ? undefined : keyNs <= TARGETS.keyNsMax,
    },
  ];
}
