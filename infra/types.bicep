metadata description = 'Types of parameters. Those of the policy have the fields of FIRSTPULL_POLICY.'

@export()
@description('Tags of a resource.')
type tagsType = {
  @description('The value of a tag.')
  *: string
}

@export()
@sealed()
@description('An IoT Hub.')
type hubType = {
  @description('Its host name, such as contoso.azure-devices.net.')
  host: string

  @description('Its name in events. Default: the first part of the host name.')
  name: string?
}

@export()
@sealed()
@description('A connected registry that requests may name.')
type connectedRegistryType = {
  @description('Its name: a letter, then letters and digits.')
  @minLength(5)
  @maxLength(40)
  name: string

  @description('Name of its container registry. Default: the first of the policy.')
  containerRegistry: string?

  @description('Repositories that requests may name, such as samples/*. Default: what it syncs.')
  repositories: string[]?

  @description('Actions that requests may name. Default: content/read.')
  actions: string[]?

  @description('host or host:port for devices, instead of the login server that Azure reports.')
  endpoint: string?

  @description('Whether it serves plain HTTP.')
  insecure: bool?

  @description('PEM of the certificate authority of its site.')
  ca: string?

  @description('The most clients, foreign ones included.')
  @minValue(1)
  @maxValue(10000)
  capacity: int?
}

@export()
@sealed()
@description('A site.')
type siteType = {
  @description('Its name.')
  @minLength(1)
  @maxLength(64)
  name: string

  @description('Names of its connected registries, in the order in which they are filled.')
  @minLength(1)
  connectedRegistries: string[]
}

@export()
@description('How credentials reach a device.')
type deliveryType = 'twin' | 'kubernetes' | 'edgeAgent'

@export()
@sealed()
@description('What a device may pull, and where: a connected registry or a site.')
type targetType = {
  @description('Name of a connected registry.')
  connectedRegistry: string?

  @description('Name of a site.')
  site: string?

  @description('Repositories that the device may use.')
  repositories: string[]

  @description('Actions that the device may use. Default: content/read.')
  actions: string[]?

  @description('Name of the container registry, where several have a connected registry of this name.')
  containerRegistry: string?

  @description('How the credential reaches the device. Default: that of the policy.')
  delivery: deliveryType?

  @description('Options of the delivery.')
  deliveryOptions: string[]?
}

@export()
@sealed()
@description('Fields of the policy.')
type policyType = {
  @description('The IoT Hubs. The first is the default of requests.')
  hubs: hubType[]?

  @description('ARM ids of the container registries. The first is the default of requests.')
  containerRegistries: string[]?

  @description('Connected registries that devices may use.')
  connectedRegistries: connectedRegistryType[]?

  @description('Sites.')
  sites: siteType[]?

  @description('What devices get that appear in a hub without a tag. Default: nothing.')
  defaultOnboarding: targetType?

  @description('Tokens that requests may adopt: names, or prefixes followed by *.')
  adoptableTokens: string[]?

  @description('How credentials reach the devices of requests that do not say so. Default: twin.')
  delivery: deliveryType?

  @description('What requests may name as their delivery. Default: all.')
  deliveries: deliveryType[]?

  @description('What devices get by the name of their enrollment or enrollment group.')
  enrollments: {
    @description('The target of one enrollment.')
    *: targetType
  }?
}

@export()
@description('Endpoints of a storage account.')
type storageEndpointsType = {
  @description('Of its blobs, with a slash at the end.')
  blob: string

  @description('Of its queues.')
  queue: string

  @description('Of its tables.')
  table: string
}

@export()
@sealed()
@description('A function key that has a name and roles.')
type namedKeyType = {
  @description('Its name in the audit.')
  @minLength(1)
  @maxLength(64)
  name: string

  @description('SHA-256 of its value, as 64 hexadecimal digits in lower case.')
  @minLength(64)
  @maxLength(64)
  sha256: string

  @description('What its holders may do.')
  @minLength(1)
  roles: ('Reader' | 'Operator' | 'MassRevokeApprover')[]
}
