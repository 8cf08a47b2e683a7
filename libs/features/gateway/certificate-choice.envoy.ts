/** A certificate as far as Envoy chooses by it. */
export interface ChoosableCertificate {
  readonly name: string;
  /** Its DNS names, exact or with a wildcard as the first label. */
  readonly dns: readonly string[];
}

/** The certificates in the order in which a listener names them: the one for names that none has, then by name; those without a DNS name last. */
export function inListenerOrder<T extends ChoosableCertificate>(certificates: Iterable<T>, fallback: string | null): T[] {
  const rank = ({ name, dns }: T) => (name === fallback ? 0 : dns.length > 0 ? 1 : 2);
  return [...certificates].sort((a, b) => rank(a) - rank(b) || (a.name < b.name ? -1 : 1));
}

/**
 * Which certificate a client gets that asks for this name, as Envoy chooses: one that has the name, then one with a wildcard for it (of one label), then the
 * first. Where several have it, the earlier one.
 */
export function chosenCertificate<T extends ChoosableCertificate>(inOrder: readonly T[], serverName: string): T | undefined {
  const name = serverName.toLowerCase();
  const wildcard = `*${name.slice(name.indexOf('.'))}`;
  const having = (wanted: string) => inOrder.find(({ dns }) => dns.some((one) => one.toLowerCase() === wanted));
  return having(name) ?? (name.includes('.') ? having(wildcard) : undefined) ?? inOrder[0];
}

/** A label that nobody uses, to ask for what a wildcard covers. */
const anyLabel = 'chancery-probe';

/** The names by which clients get this certificate and no other, '' for those that ask for none. A wildcard's is one that it covers. */
export function namesOf(certificate: ChoosableCertificate, inOrder: readonly ChoosableCertificate[]): string[] {
  const asked = certificate.dns.map((name) => name.toLowerCase().replace(/^\*/, anyLabel));
  const own = [...new Set(asked)].filter((name) => chosenCertificate(inOrder, name) === certificate);
  return inOrder[0] === certificate ? [...own, ''] : own;
}
