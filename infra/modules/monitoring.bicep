metadata description = 'A workbook on the state of the devices, and alert rules with links to the runbook.'

@description('Prefix of the names of the alert rules.')
@minLength(1)
@maxLength(60)
param namePrefix string

@description('Region of the workspace.')
param location string

@description('Tags of these resources.')
param tags object

@description('ARM id of the Log Analytics workspace of the Application Insights component.')
param workspaceId string

@description('ARM id of the action group of the alerts. Empty: alerts are shown in the portal only.')
param actionGroupId string = ''

@description('Address of the runbook. Each alert adds its anchor.')
param runbookUrl string = 'docs/runbook.md'

@description('Hours without an acknowledgement of a delivery until an alert fires.')
@minValue(1)
@maxValue(2000)
param unansweredHours int = 72

@description('Percentage of free clients at or below which a site is nearly full.')
@minValue(0)
@maxValue(100)
param freePercent int = 10

@description('Number of throttled reconciles in 15 minutes above which an alert fires.')
@minValue(0)
@maxValue(10000)
param throttledLooks int = 50

var alerts = loadJsonContent('../monitoring/alerts.json')
var workbookData = loadTextContent('../monitoring/workbook.json')

resource rules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in alerts: {
    name: '${namePrefix}-${alert.name}'
    location: location
    tags: tags
    kind: 'LogAlert'
    properties: {
      displayName: 'firstpull: ${alert.title}'
      description: 'What to do: ${runbookUrl}#${alert.name}'
      severity: alert.severity
      enabled: true
      scopes: [workspaceId]
      evaluationFrequency: alert.every
      windowSize: alert.window
      autoMitigate: true
      criteria: {
        allOf: [
          {
            // A query returns rows only if somebody has to act.
            query: replace(
              replace(
                replace(join(alert.query, '\n'), '{unansweredSeconds}', string(unansweredHours * 3600)),
                '{freePercent}',
                string(freePercent)
              ),
              '{throttledLooks}',
              string(throttledLooks)
            )
            timeAggregation: 'Count'
            // Each value of a dimension fires separately, so that a lasting alert hides no new one.
            dimensions: map(alert.dimensions, column => {
              name: column
              operator: 'Include'
              values: ['*']
            })
            operator: 'GreaterThan'
            threshold: 0
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      actions: {
        actionGroups: empty(actionGroupId) ? [] : [actionGroupId]
        customProperties: {
          runbook: '${runbookUrl}#${alert.name}'
        }
      }
    }
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'firstpull')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'firstpull'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: replace(workbookData, 'WORKSPACE_ID', workspaceId)
    version: '1.0'
  }
}

@description('ARM id of the workbook.')
output workbookId string = workbook.id
