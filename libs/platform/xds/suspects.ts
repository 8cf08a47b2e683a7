/** Those that Envoy's message names, each alone, and the others together; halves when it names none or all. */
export function parts(names: readonly string[], message: string): string[][] {
  const named = names.filter((name) => message.includes(name));
  if (named.length > 0 && named.length < names.length && named.length <= 8) {
    return [...named.map((name) => [name]), names.filter((name) => !named.includes(name))];
  }
  const middle = Math.ceil(names.length / 2);
  return [names.slice(0, middle), names.slice(middle)].filter((part) => part.length > 0);
}
