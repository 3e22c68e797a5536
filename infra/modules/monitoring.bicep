metadata description = 'A workbook that shows how the devices are, and the alert rules, each with its page of the runbook.'

@description('What the names of the alert rules begin with.')
@minLength(1)
@maxLength(60)
param namePrefix string

@description('Region of the workspace.')
param location string

@description('Tags of everything that is made here.')
param tags object

@description('ARM id of the Log Analytics workspace of the Application Insights component.')
param workspaceId string

@description('ARM id of the action group that is told of alerts. None leaves them to the portal.')
param actionGroupId string = ''

@description('Where the runbook is to be read; the anchor of the alert is added to it.')
param runbookUrl string = 'docs/runbook.md'

@description('Hours that a device may leave its credentials without an answer.')
@minValue(1)
@maxValue(2000)
param unansweredHours int = 72

@description('A site of whose places no more than this share is free is nearly full, in percent.')
@minValue(0)
@maxValue(100)
param freePercent int = 10

@description('Looks at devices, within a quarter of an hour, that may be put off by throttling.')
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
            // Each query gives rows only where somebody should look.
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
            // Each value is an alert of its own: one that stays does not hide those that come later.
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
