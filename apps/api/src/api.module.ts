import { type DynamicModule, Module } from '@nestjs/common';
import { APP_GUARD, DiscoveryModule } from '@nestjs/core';
import { CqrsModule } from '@nestjs/cqrs';

import { AccessGuard } from '#features/access/access.guard.js';
import { AttemptLimiter } from '#features/access/attempt-limiter.js';
import { CreateTokenHandler } from '#features/access/create-token.js';
import { GetTokenHandler, ListTokensHandler } from '#features/access/list-tokens.js';
import { RevokeTokenHandler } from '#features/access/revoke-token.js';
import { TokenController } from '#features/access/token.controller.js';
import { TokenVerifier } from '#features/access/token-verifier.js';
import { AmbassadorController } from '#features/ambassador/ambassador.controller.js';
import { AmbassadorPrincipalController } from '#features/ambassador/ambassador-principal.controller.js';
import { Envelope } from '#features/ambassador/envelope.js';
import { AuditController } from '#features/audit/audit.controller.js';
import { ListAuditHandler, ReadAuditStandingHandler } from '#features/audit/list-audit.js';
import { CertificateController } from '#features/certificate/certificate.controller.js';
import { certificateKind } from '#features/certificate/certificate.kind.js';
import { DeleteCertificateHandler } from '#features/certificate/delete-certificate.js';
import { ListCertificatesHandler, ReadCertificateHandler } from '#features/certificate/list-certificates.js';
import { PutCertificateHandler } from '#features/certificate/put-certificate.js';
import { ReadCertificateChoiceHandler } from '#features/certificate/read-certificate-choice.js';
import { ApplyChangesetHandler } from '#features/changeset/apply-changeset.js';
import { ChangesetController } from '#features/changeset/changeset.controller.js';
import { ImportConfigurationHandler } from '#features/changeset/import-configuration.js';
import { FindKnownEndpointsHandler } from '#features/discovery/find-known-endpoints.js';
import { FindKnownServiceHandler } from '#features/discovery/find-known-service.js';
import { FindKnownServicesHandler } from '#features/discovery/find-known-services.js';
import { ConfigureGatewayHandler } from '#features/gateway/configure-gateway.js';
import { CreateGatewayHandler } from '#features/gateway/create-gateway.js';
import { GatewayController } from '#features/gateway/gateway.controller.js';
import { gatewayKind } from '#features/gateway/gateway.kind.js';
import { ListGatewaysHandler, ReadGatewayHandler } from '#features/gateway/list-gateways.js';
import { DocumentController } from '#features/history/document.controller.js';
import { ListSubjectHistoryHandler } from '#features/history/list-subject-history.js';
import { ListVersionsHandler, ReadVersionHandler } from '#features/history/list-versions.js';
import { ReadConfigurationHandler } from '#features/history/read-configuration.js';
import { ReadDifferenceHandler } from '#features/history/read-difference.js';
import { SubjectHistoryController } from '#features/history/subject-history.controller.js';
import { SubjectKinds } from '#features/history/subject-kind.js';
import { VersionController } from '#features/history/version.controller.js';
import { CreateMappingHandler } from '#features/mapping/create-mapping.js';
import { DeleteMappingHandler } from '#features/mapping/delete-mapping.js';
import { ExplainController } from '#features/mapping/explain.controller.js';
import { FindMappingWarningsHandler } from '#features/mapping/find-mapping-warnings.js';
import { FindSetWarningsHandler } from '#features/mapping/find-set-warnings.js';
import { ListMappingsHandler, ReadMappingHandler } from '#features/mapping/list-mappings.js';
import { ListRoutesHandler } from '#features/mapping/list-routes.js';
import { ListServedHostsHandler } from '#features/mapping/list-served-hosts.js';
import { MappingController } from '#features/mapping/mapping.controller.js';
import { mappingKind } from '#features/mapping/mapping.kind.js';
import { MappingBudget } from '#features/mapping/mapping-budget.table.js';
import { OwnPorts } from '#features/mapping/own-ports.js';
import { ReadExplanationHandler } from '#features/mapping/read-explanation.js';
import { ReadRouteBookHandler } from '#features/mapping/read-route-book.js';
import { ReadRouteGuardHandler } from '#features/mapping/read-route-guard.js';
import { ReadSurroundingsHandler } from '#features/mapping/read-surroundings.js';
import { ReadTestResultsHandler } from '#features/mapping/read-test-results.js';
import { RouteController } from '#features/mapping/route.controller.js';
import { UpdateMappingHandler } from '#features/mapping/update-mapping.js';
import { DeletePrincipalHandler } from '#features/principal/delete-principal.js';
import { ListPrincipalsHandler, ReadPrincipalHandler } from '#features/principal/list-principals.js';
import { principalKind } from '#features/principal/principal.kind.js';
import { PutPrincipalHandler } from '#features/principal/put-principal.js';
import { PromotionController } from '#features/promotion/promotion.controller.js';
import { ReadRolloutHandler } from '#features/promotion/read-rollout.js';
import { SwitchRolloutHandler } from '#features/promotion/switch-rollout.js';
import { ConfirmVersionHandler } from '#features/restore/confirm-version.js';
import { ConfirmationController } from '#features/restore/confirmation.controller.js';
import { FindQuarantinedHandler } from '#features/restore/find-quarantined.js';
import { LiftQuarantineHandler } from '#features/restore/lift-quarantine.js';
import { ListConfirmationsHandler } from '#features/restore/list-confirmations.js';
import { ListQuarantinesHandler, ReadQuarantineHandler } from '#features/restore/list-quarantines.js';
import { QuarantineController } from '#features/restore/quarantine.controller.js';
import { QuarantineStateHandler } from '#features/restore/quarantine-state.js';
import { RestoreController } from '#features/restore/restore.controller.js';
import { RevertVersionHandler } from '#features/restore/revert-version.js';
import { RollBackHandler } from '#features/restore/roll-back.js';
import { DeploymentController } from '#features/rollout/deployment.controller.js';
import {
  ListDeploymentsHandler,
  ListRedeploymentsHandler,
  ReadDeploymentHandler,
  ReadRedeploymentHandler,
} from '#features/rollout/list-deployments.js';
import { ListMappingStatusHandler } from '#features/rollout/list-mapping-status.js';
import { ListTargetsHandler, ReadTargetHandler } from '#features/rollout/list-targets.js';
import { PropagationController } from '#features/rollout/propagation.controller.js';
import { ReadPropagationHandler } from '#features/rollout/read-propagation.js';
import { ReadRenderDifferenceHandler } from '#features/rollout/read-render-difference.js';
import { ReadStatsHandler } from '#features/rollout/read-stats.js';
import { RedeploymentController } from '#features/rollout/redeployment.controller.js';
import { RequestRedeploymentHandler } from '#features/rollout/request-redeployment.js';
import { TargetController } from '#features/rollout/target.controller.js';
import { DeleteRouteTestHandler } from '#features/route-test/delete-route-test.js';
import { ListRouteTestsHandler, ReadRouteTestHandler } from '#features/route-test/list-route-tests.js';
import { PutRouteTestHandler } from '#features/route-test/put-route-test.js';
import { RouteTestController } from '#features/route-test/route-test.controller.js';
import { routeTestKind } from '#features/route-test/route-test.kind.js';
import type { AnchorArchive } from '#features/verification/anchor-archive.js';
import { LogVerifier } from '#features/verification/log-verifier.js';
import { ReadVerificationHandler } from '#features/verification/read-verification.js';
import { VerificationController } from '#features/verification/verification.controller.js';
import type { Database } from '#platform/database/database.js';
import { EventStore } from '#platform/eventstore/event-store.js';
import { CommandRunner } from '#platform/http/command-runner.js';
import { EventStreams } from '#platform/http/event-stream.js';
import { HttpMetrics } from '#platform/http/http-metrics.js';
import { QueryRunner } from '#platform/http/query-runner.js';
import { DB, LOG } from '#platform/http/tokens.js';
import type { Log } from '#platform/log/log.js';
import { Vault } from '#platform/vault/vault.js';

import { Build } from './build.js';
import { InterfaceController } from './interface.controller.js';
import { Readiness } from './readiness.js';
import { RouteDescriptions } from './route-descriptions.js';
import { SystemController } from './system.controller.js';

const controllers = [
  SystemController,
  InterfaceController,
  TokenController,
  GatewayController,
  MappingController,
  RouteController,
  ExplainController,
  RouteTestController,
  CertificateController,
  ChangesetController,
  VersionController,
  PropagationController,
  RestoreController,
  ConfirmationController,
  QuarantineController,
  DocumentController,
  SubjectHistoryController,
  TargetController,
  RedeploymentController,
  DeploymentController,
  PromotionController,
  VerificationController,
  AmbassadorController,
  AmbassadorPrincipalController,
  AuditController,
];

const commandHandlers = [
  CreateTokenHandler,
  RevokeTokenHandler,
  CreateGatewayHandler,
  ConfigureGatewayHandler,
  CreateMappingHandler,
  UpdateMappingHandler,
  DeleteMappingHandler,
  ApplyChangesetHandler,
  ImportConfigurationHandler,
  PutPrincipalHandler,
  DeletePrincipalHandler,
  PutRouteTestHandler,
  DeleteRouteTestHandler,
  PutCertificateHandler,
  DeleteCertificateHandler,
  RequestRedeploymentHandler,
  RollBackHandler,
  RevertVersionHandler,
  ConfirmVersionHandler,
  QuarantineStateHandler,
  LiftQuarantineHandler,
  SwitchRolloutHandler,
];

const queryHandlers = [
  ListTokensHandler,
  GetTokenHandler,
  ListGatewaysHandler,
  ReadGatewayHandler,
  ListMappingsHandler,
  ReadMappingHandler,
  ListRoutesHandler,
  ListServedHostsHandler,
  ReadRouteBookHandler,
  ReadRouteGuardHandler,
  ReadTestResultsHandler,
  ReadExplanationHandler,
  ListRouteTestsHandler,
  ReadRouteTestHandler,
  ReadCertificateChoiceHandler,
  ListCertificatesHandler,
  ReadCertificateHandler,
  FindMappingWarningsHandler,
  ReadSurroundingsHandler,
  FindSetWarningsHandler,
  ListVersionsHandler,
  ReadVersionHandler,
  ReadConfigurationHandler,
  ReadDifferenceHandler,
  ReadRenderDifferenceHandler,
  ListSubjectHistoryHandler,
  ListPrincipalsHandler,
  ReadPrincipalHandler,
  ListTargetsHandler,
  ReadTargetHandler,
  ListMappingStatusHandler,
  ReadPropagationHandler,
  ReadStatsHandler,
  ListDeploymentsHandler,
  ReadDeploymentHandler,
  ListRedeploymentsHandler,
  ReadRedeploymentHandler,
  FindKnownEndpointsHandler,
  FindKnownServiceHandler,
  FindQuarantinedHandler,
  ListConfirmationsHandler,
  ListQuarantinesHandler,
  ReadQuarantineHandler,
  ListAuditHandler,
  ReadAuditStandingHandler,
  FindKnownServicesHandler,
  ReadVerificationHandler,
  ReadRolloutHandler,
];

/** What the process brings along: made before Nest, ended after it. */
export interface ApiParts {
  readonly database: Database;
  readonly events: EventStore;
  readonly log: Log;
  readonly metrics: HttpMetrics;
  readonly build: Build;
  readonly envelope: Envelope;
  readonly readiness: Readiness;
  readonly verifier: TokenVerifier;
  readonly limiter: AttemptLimiter;
  readonly streams: EventStreams;
  readonly vault: Vault;
  /** Ports of the product itself, which no mapping may point at. */
  readonly ownPorts: readonly number[];
  /** A connection with limits of its own, and the anchors where they are kept. */
  readonly verification: { readonly database: Database; readonly anchors: AnchorArchive | undefined };
}

@Module({})
class ApiModule {}

/** The whole api: every controller and every handler, in lists. */
export function apiModule(parts: ApiParts): DynamicModule {
  return {
    module: ApiModule,
    imports: [CqrsModule.forRoot(), DiscoveryModule],
    controllers,
    providers: [
      { provide: DB, useValue: parts.database.db },
      { provide: LOG, useValue: parts.log },
      { provide: EventStore, useValue: parts.events },
      { provide: HttpMetrics, useValue: parts.metrics },
      { provide: Build, useValue: parts.build },
      { provide: Envelope, useValue: parts.envelope },
      { provide: Readiness, useValue: parts.readiness },
      { provide: TokenVerifier, useValue: parts.verifier },
      { provide: AttemptLimiter, useValue: parts.limiter },
      { provide: EventStreams, useValue: parts.streams },
      { provide: Vault, useValue: parts.vault },
      { provide: MappingBudget, useValue: new MappingBudget(parts.database.db) },
      { provide: OwnPorts, useValue: new OwnPorts(parts.ownPorts) },
      {
        provide: SubjectKinds,
        useValue: new SubjectKinds([gatewayKind, mappingKind(new Set(parts.ownPorts)), principalKind, routeTestKind, certificateKind]),
      },
      {
        provide: LogVerifier,
        inject: [SubjectKinds],
        useFactory: (kinds: SubjectKinds) => new LogVerifier({ ...parts.verification, kinds }),
      },
      { provide: APP_GUARD, useClass: AccessGuard },
      CommandRunner,
      QueryRunner,
      RouteDescriptions,
      ...commandHandlers,
      ...queryHandlers,
    ],
  };
}
