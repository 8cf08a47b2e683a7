import { Gauge, type Registry } from 'prom-client';

import { listAllCertificates } from '#features/certificate/certificate.table.js';
import type { Db } from '#platform/database/database.js';
import { withDeadline } from '#platform/http/query-runner.js';
import type { Log } from '#platform/log/log.js';

/**
 * Adds when each certificate ends. A moment and not a time that is left, so that it stays right between two scrapes and names the certificate. While the
 * database does not answer, what was read last stays, and the second gauge says since when it was not read.
 */
export function addCertificateGauge(registry: Registry, { db, log, deadlineMs }: { db: Db; log: Log; deadlineMs: number }): void {
  let isFailing = false;
  let reading: Promise<void> | undefined;
  const read = async () => {
    try {
      const all = await withDeadline(listAllCertificates(db), deadlineMs);
      ends.reset();
      for (const { gateway, state } of all) ends.set({ gateway, certificate: state.name }, Date.parse(state.notAfter) / 1000);
      readAt.set(Date.now() / 1000);
      isFailing = false;
    } catch (err) {
      if (!isFailing) log.warn({ err }, 'the ends of certificates could not be read for the metrics; what was read before stays');
      isFailing = true;
    }
  };
  // Both gauges of a scrape wait for one reading.
  const collect = () => {
    reading ??= read().finally(() => {
      reading = undefined;
    });
    return reading;
  };
  const readAt = new Gauge({
    name: 'chancery_certificate_expiry_read_timestamp_seconds',
    help: 'When the ends of certificates were read last, in seconds since 1970; 0: never yet. It stands still while the database does not answer.',
    registers: [registry],
    collect,
  });
  const ends = new Gauge({
    name: 'chancery_certificate_expiry_timestamp_seconds',
    help: 'When a certificate ends, in seconds since 1970, as it was read last.',
    labelNames: ['gateway', 'certificate'] as const,
    registers: [registry],
    collect,
  });
}
