/** What results call a machine: "host", "guest 1". */
export function machineName(machine: number): string {
  return machine === 0 ? "host" : `guest ${machine}`;
}
