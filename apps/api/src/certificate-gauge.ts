import { Gauge, type Registry } from 'prom-client';

import { listAllCertificates } from '#features/certificate/certificate.table.js';
import type { Db } from '#platform/database/database.js';
import { withDeadline } from '#platform/http/query-runner.js';

/** Adds when each certificate ends. A moment and not a time that is left, so that it stays right between two scrapes and names the certificate. */
export function addCertificateGauge(registry: Registry, db: Db, deadlineMs: number): void {
  new Gauge({
    name: 'chancery_certificate_expiry_timestamp_seconds',
    help: 'When a certificate ends, in seconds since 1970; missing while the database does not answer.',
    labelNames: ['gateway', 'certificate'] as const,
    registers: [registry],
    async collect() {
      const all = await withDeadline(listAllCertificates(db), deadlineMs).catch(() => []);
      this.reset();
      for (const { gateway, state } of all) this.set({ gateway, certificate: state.name }, Date.parse(state.notAfter) / 1000);
    },
  });
}
