// The single owner of the form of the Kubernetes objects that deploy/ writes: every field that is used, and no other, after the API reference of Kubernetes 1.36.

type Schema = Readonly<Record<string, unknown>>

const text: Schema = { type: 'string', minLength: 1 }
const anyText: Schema = { type: 'string' }
const flag: Schema = { type: 'boolean' }
const count: Schema = { type: 'integer', minimum: 0 }
const port: Schema = { type: 'integer', minimum: 1, maximum: 65_535 }
const dnsLabel: Schema = { type: 'string', pattern: '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$' }
const dnsName: Schema = { type: 'string', pattern: '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$' }
const quantity: Schema = { type: 'string', pattern: '^[0-9]+(\\.[0-9]+)?(m|Ki|Mi|Gi)?$' }
const oneOf = (...values: readonly unknown[]): Schema => ({ enum: values })
const list = (items: Schema, minItems = 1): Schema => ({ type: 'array', items, minItems })
const texts = list(text)
const mapOf = (values: Schema): Schema => ({ type: 'object', additionalProperties: values })
const object = (
  required: Readonly<Record<string, Schema>>,
  optional: Readonly<Record<string, Schema>> = {},
): Schema => ({
  type: 'object',
  required: Object.keys(required),
  additionalProperties: false,
  properties: { ...required, ...optional },
})

const labels = mapOf({
  type: 'string',
  pattern: '^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$',
})
const metadata = object(
  { name: dnsName },
  { namespace: dnsLabel, labels, annotations: mapOf(anyText) },
)
const requirement = object(
  { key: text, operator: oneOf('In', 'NotIn', 'Exists', 'DoesNotExist') },
  { values: texts },
)
const selector: Schema = object({}, { matchLabels: labels, matchExpressions: list(requirement) })
const resource = (
  apiVersion: string,
  kind: string,
  rest: Readonly<Record<string, Schema>>,
): Schema => object({ apiVersion: { const: apiVersion }, kind: { const: kind }, metadata, ...rest })

const probe = object(
  { httpGet: object({ path: text, port: dnsLabel }) },
  { periodSeconds: count, failureThreshold: count, timeoutSeconds: count },
)
const container = object(
  {
    name: dnsLabel,
    image: text,
    resources: object({ requests: mapOf(quantity), limits: mapOf(quantity) }),
    securityContext: object({
      allowPrivilegeEscalation: flag,
      readOnlyRootFilesystem: flag,
      capabilities: object({ drop: texts }),
    }),
    volumeMounts: list(object({ name: dnsLabel, mountPath: text }, { readOnly: flag })),
  },
  {
    args: texts,
    command: texts,
    env: list(object({ name: text, value: anyText })),
    ports: list(
      object({ name: { type: 'string', pattern: '^[a-z0-9-]{1,15}$' }, containerPort: port }),
    ),
    startupProbe: probe,
    readinessProbe: probe,
    livenessProbe: probe,
  },
)
const volume = object(
  { name: dnsLabel },
  {
    configMap: object({ name: dnsName }),
    secret: object(
      { secretName: dnsName },
      { optional: flag, items: list(object({ key: text, path: text })) },
    ),
    persistentVolumeClaim: object({ claimName: dnsName }, { readOnly: flag }),
  },
)
const affinityTerm = object({ topologyKey: text, labelSelector: selector })
const podTemplate = object({
  metadata: object({ labels }),
  spec: object(
    {
      automountServiceAccountToken: flag,
      containers: list(container),
      volumes: list(volume),
      securityContext: object({
        runAsNonRoot: flag,
        runAsUser: count,
        runAsGroup: count,
        fsGroup: count,
        seccompProfile: object({ type: oneOf('RuntimeDefault') }),
      }),
    },
    {
      serviceAccountName: dnsName,
      enableServiceLinks: flag,
      priorityClassName: dnsName,
      restartPolicy: oneOf('Always', 'OnFailure', 'Never'),
      terminationGracePeriodSeconds: count,
      affinity: object({
        podAntiAffinity: object({
          preferredDuringSchedulingIgnoredDuringExecution: list(
            object({
              weight: { type: 'integer', minimum: 1, maximum: 100 },
              podAffinityTerm: affinityTerm,
            }),
          ),
        }),
      }),
      topologySpreadConstraints: list(
        object({
          maxSkew: count,
          topologyKey: text,
          whenUnsatisfiable: oneOf('ScheduleAnyway', 'DoNotSchedule'),
          labelSelector: selector,
        }),
      ),
    },
  ),
})

const rule = {
  apiGroups: list(anyText),
  apiVersions: texts,
  operations: list(oneOf('CREATE', 'UPDATE', 'DELETE', 'CONNECT', '*')),
  resources: texts,
}
const matchConditions = { ...list(object({ name: dnsName, expression: text })), maxItems: 64 }
const webhook = object({
  name: { type: 'string', pattern: '^[a-z0-9-]+(\\.[a-z0-9-]+){2,}$' },
  admissionReviewVersions: list({ const: 'v1' }),
  clientConfig: object({
    service: object({
      namespace: dnsLabel,
      name: dnsLabel,
      path: { type: 'string', pattern: '^/' },
      port,
    }),
  }),
  failurePolicy: oneOf('Fail', 'Ignore'),
  sideEffects: oneOf('None', 'NoneOnDryRun'),
  timeoutSeconds: { type: 'integer', minimum: 1, maximum: 30 },
  matchPolicy: oneOf('Exact', 'Equivalent'),
  namespaceSelector: selector,
  rules: list(object({ ...rule, scope: oneOf('Cluster', 'Namespaced', '*') })),
  matchConditions,
})

const networkPort = list(object({ port, protocol: oneOf('TCP', 'UDP') }))
const ADMISSION = 'admissionregistration.k8s.io/v1'

/** By `apiVersion/kind`. */
export const SCHEMAS: Readonly<Record<string, Schema | undefined>> = {
  'kustomize.config.k8s.io/v1beta1/Kustomization': object(
    {
      apiVersion: { const: 'kustomize.config.k8s.io/v1beta1' },
      kind: { const: 'Kustomization' },
      resources: texts,
    },
    {
      namespace: dnsLabel,
      configMapGenerator: list(object({ name: dnsName, files: texts })),
      generatorOptions: object({ disableNameSuffixHash: flag }),
      images: list(object({ name: text, newName: text, newTag: text })),
    },
  ),
  'v1/Namespace': resource('v1', 'Namespace', {}),
  'v1/ServiceAccount': resource('v1', 'ServiceAccount', { automountServiceAccountToken: flag }),
  'v1/Service': resource('v1', 'Service', {
    spec: object({
      selector: labels,
      sessionAffinity: oneOf('ClientIP', 'None'),
      ports: list(object({ name: dnsLabel, port, targetPort: dnsLabel })),
    }),
  }),
  'apps/v1/Deployment': resource('apps/v1', 'Deployment', {
    spec: object({
      replicas: count,
      selector,
      strategy: object({ rollingUpdate: object({ maxUnavailable: count, maxSurge: count }) }),
      template: podTemplate,
    }),
  }),
  'policy/v1/PodDisruptionBudget': resource('policy/v1', 'PodDisruptionBudget', {
    spec: object({ minAvailable: count, selector }),
  }),
  'networking.k8s.io/v1/NetworkPolicy': resource('networking.k8s.io/v1', 'NetworkPolicy', {
    spec: object({
      podSelector: selector,
      policyTypes: list(oneOf('Ingress', 'Egress')),
      ingress: list(object({ ports: networkPort })),
      egress: list(
        object({
          ports: networkPort,
          to: list(
            object(
              {},
              { namespaceSelector: selector, ipBlock: object({ cidr: text }, { except: texts }) },
            ),
          ),
        }),
      ),
    }),
  }),
  [`${ADMISSION}/ValidatingWebhookConfiguration`]: resource(
    ADMISSION,
    'ValidatingWebhookConfiguration',
    {
      webhooks: list(webhook),
    },
  ),
  [`${ADMISSION}/ValidatingAdmissionPolicy`]: resource(ADMISSION, 'ValidatingAdmissionPolicy', {
    spec: object({
      failurePolicy: oneOf('Fail', 'Ignore'),
      matchConstraints: object({ resourceRules: list(object(rule)) }),
      matchConditions,
      validations: list(
        object({
          expression: text,
          message: { type: 'string', minLength: 1, pattern: '^[^\\n]*$' },
          reason: oneOf('Forbidden', 'Invalid'),
        }),
      ),
    }),
  }),
  [`${ADMISSION}/ValidatingAdmissionPolicyBinding`]: resource(
    ADMISSION,
    'ValidatingAdmissionPolicyBinding',
    {
      spec: object({
        policyName: dnsName,
        validationActions: list(oneOf('Deny', 'Warn', 'Audit')),
        matchResources: object({ namespaceSelector: selector }),
      }),
    },
  ),
  'batch/v1/Job': resource('batch/v1', 'Job', {
    spec: object({
      completionMode: oneOf('Indexed', 'NonIndexed'),
      completions: count,
      parallelism: count,
      backoffLimitPerIndex: count,
      maxFailedIndexes: count,
      ttlSecondsAfterFinished: count,
      template: podTemplate,
    }),
  }),
  'cert-manager.io/v1/Issuer': resource('cert-manager.io/v1', 'Issuer', {
    spec: object({ selfSigned: object({}) }),
  }),
  'cert-manager.io/v1/Certificate': resource('cert-manager.io/v1', 'Certificate', {
    spec: object({
      secretName: dnsName,
      duration: text,
      renewBefore: text,
      privateKey: object({
        algorithm: oneOf('ECDSA'),
        size: oneOf(256),
        rotationPolicy: oneOf('Always'),
      }),
      dnsNames: list(dnsName),
      issuerRef: object({ name: dnsName, kind: oneOf('Issuer', 'ClusterIssuer') }),
    }),
  }),
}
