import { styleText } from 'node:util';

type Paint = (text: string) => string;

/** What colours mean here: nothing that the text does not say as well. */
export interface Colours {
  readonly good: Paint;
  readonly bad: Paint;
  readonly doubtful: Paint;
  readonly faint: Paint;
  readonly strong: Paint;
}

const plain: Paint = (text) => text;
const without: Colours = { good: plain, bad: plain, doubtful: plain, faint: plain, strong: plain };

type Style = Parameters<typeof styleText>[0];
const paint =
  (style: Style): Paint =>
  (text) =>
    styleText(style, text, { validateStream: false });
const withColours: Colours = {
  good: paint('green'),
  bad: paint('red'),
  doubtful: paint('yellow'),
  faint: paint('dim'),
  strong: paint('bold'),
};

/** `--no-color` and NO_COLOR say no; else FORCE_COLOR says yes; else a terminal decides. */
export function wantsColours(
  said: { readonly flag: boolean; readonly noColor: boolean; readonly forceColor: boolean },
  isTerminal: boolean,
): boolean {
  if (!said.flag || said.noColor) return false;
  return said.forceColor || isTerminal;
}

export function coloursFor(wanted: boolean): Colours {
  return wanted ? withColours : without;
}

/** The colour of a word for a state, wherever one is shown. */
export function paintState(colours: Colours, state: string): string {
  if (['live', 'ok', 'confirmed', 'enrolled', 'active', 'accepted', 'proven', 'yes'].includes(state)) return colours.good(state);
  if (['refused', 'failed', 'set_aside', 'conflicted', 'revoked', 'expired', 'no'].includes(state)) return colours.bad(state);
  if (['pending', 'open', 'away', 'unresolved', 'superseded', 'reverted', 'running', 'in_wave', 'held', 'frozen', 'pinned'].includes(state))
    return colours.doubtful(state);
  return state;
}
