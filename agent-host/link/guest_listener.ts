/** Who takes what the frames of one guest's stream carry; see guest_link.ts. */
import type {
  ClockSample,
  CpuPosition,
  Dump,
  Event,
  Hello,
  Lost,
  Stats,
  Symbols,
  Task,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import type { PongView } from "../../shared/wire/ping_frame.ts";
import type { SamplesView } from "../../shared/wire/samples_reader.ts";

export interface GuestListener {
  /** A stream begins, or goes on when `resumed`; all its events are known. */
  onStream(hello: Hello, events: readonly Event[], resumed: boolean): void;
  onClockSample(sample: ClockSample): void;
  onSamples(view: SamplesView, bytes: Uint8Array): void;
  onProgress(tsc: bigint): void;
  onPong(pong: PongView, receivedTsc: bigint): void;
  onTask(task: Task): void;
  onSymbols(symbols: Symbols): void;
  onLost(lost: Lost): void;
  onStats(stats: Stats): void;
  /** Of a flight recorder: a dump begins, or has come. */
  onDump?(mark: Dump): void;
  /** Positions to acknowledge, and to resume from. */
  positions(): CpuPosition[];
}
