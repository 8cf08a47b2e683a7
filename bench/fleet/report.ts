import { median, ratio } from '../append/statistics.js';
import type { FanOut } from './fleet.js';

export interface Herd {
  /** From the death of the server until every good client had acknowledged a change that came after. */
  readonly allMs: number;
  readonly p50Ms: number;
  readonly late: number;
  /** What came over the wire, on average. */
  readonly bytesPerClient: number;
}

/** What was measured with so many clients; blocks of fan-outs by server. */
export interface Size {
  readonly clients: number;
  readonly memoryMb: Readonly<Record<string, number>>;
  readonly alone: ReadonlyMap<string, FanOut[][]>;
  readonly herds: Readonly<Record<string, Herd>>;
  /** The same beside clients that are slow, refuse, or are half open. */
  readonly beside?: ReadonlyMap<string, FanOut[][]>;
  readonly nacks?: Readonly<Record<string, number>>;
}

const OURS = 'chancery';
const PEER = 'go-control-plane-scoped';
const MOST_OF_PEER = 1.5;
const MOST_KB = 40;
const MOST_P99 = 1.2;

const blockMedians = (blocks: readonly FanOut[][], pick: (fanOut: FanOut) => number) => blocks.map((block) => median(block.map(pick)));
const shown = ({ ratio: over, low, high }: { ratio: number; low: number; high: number }) =>
  `${over.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]`;
const verdict = (value: number, most: number) => `goal <= ${most}: ${value <= most ? 'reached' : 'MISSED'}`;

/** The newest size, with those before it for what one client costs. */
export function report(sizes: readonly Size[], limits: string): void {
  const size = sizes.at(-1);
  if (size === undefined) return;
  const { clients, alone, beside, herds } = size;
  console.log(`\n${clients} client(s)   ${limits}`);
  for (const [name, blocks] of alone) {
    const all = blockMedians(blocks, ({ good }) => good.max);
    const peer = alone.get(PEER);
    const compared =
      name === OURS && peer !== undefined
        ? ratio(
            all,
            blockMedians(peer, ({ good }) => good.max),
          )
        : undefined;
    console.log(
      `  ${name.padEnd(26)} until all have acknowledged ${median(all).toFixed(1).padStart(7)} ms, half of them ${median(blockMedians(blocks, ({ good }) => good.p50)).toFixed(1)} ms, trigger answered ${median(blockMedians(blocks, ({ ackMs }) => ackMs ?? Number.NaN)).toFixed(1)} ms${compared === undefined ? '' : `   ${shown(compared)} of ${PEER}   ${verdict(compared.ratio, MOST_OF_PEER)}`}`,
    );
  }
  for (const [name, blocks] of beside ?? []) {
    const [healthy, mixed] = [alone.get(name) ?? [], blocks].map((each) => blockMedians(each, ({ good }) => good.p99));
    const against = ratio(mixed ?? [], healthy ?? []);
    const late = blocks.flat().reduce((sum, fanOut) => sum + (fanOut.late ?? 0), 0);
    console.log(
      `  ${name.padEnd(26)} beside slow, refusing and half-open ones: p99 of the others ${median(mixed ?? []).toFixed(1)} ms, ${shown(against)} of without them   ${name === OURS ? verdict(against.ratio, MOST_P99) : ''}${late === 0 ? '' : `   ${late} LATE`}   refused ${size.nacks?.[name] ?? 0}`,
    );
  }
  for (const [name, herd] of Object.entries(herds))
    console.log(
      `  ${name.padEnd(26)} killed: all back with the newest after ${herd.allMs.toFixed(0)} ms (half ${herd.p50Ms.toFixed(0)}), ${(herd.bytesPerClient / 1024).toFixed(1)} KB a client${herd.late === 0 ? '' : `   ${herd.late} LATE`}`,
    );
  const least = sizes[0];
  if (least === undefined || least === size) return;
  for (const [name, mb] of Object.entries(size.memoryMb)) {
    const kb = ((mb - (least.memoryMb[name] ?? mb)) * 1024) / (clients - least.clients);
    console.log(
      `  ${name.padEnd(26)} ${mb.toFixed(0)} MB resident, ${kb.toFixed(1)} KB a client   ${name === OURS ? verdict(kb, MOST_KB) : ''}`,
    );
  }
}

/** What no server in Node can be below. */
export function reportFloors(floors: Readonly<Record<string, number>>): void {
  for (const [kind, kb] of Object.entries(floors)) console.log(`  ${`idle, in Node's ${kind}`.padEnd(26)} ${kb.toFixed(1)} KB a client`);
}
