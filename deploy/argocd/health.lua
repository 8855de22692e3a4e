-- The health of a ShardedKV for Argo CD, from the conditions for programs. docs/kubernetes.md tells how to install it.
local health = { status = "Progressing", message = "Waiting for the operator" }
local status = obj.status
if status == nil or status.conditions == nil then
  return health
end
if status.observedGeneration ~= obj.metadata.generation then
  health.message = "Waiting for the operator to see the last change"
  return health
end
local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local function is(name, value)
  return conditions[name] ~= nil and conditions[name].status == value
end
if is("Stalled", "True") then
  health.status = "Degraded"
  health.message = conditions.Stalled.message
elseif is("Degraded", "True") then
  health.status = "Degraded"
  health.message = conditions.Degraded.message
elseif obj.spec ~= nil and obj.spec.paused then
  health.status = "Suspended"
  health.message = "spec.paused is true"
elseif is("Ready", "True") then
  health.status = "Healthy"
  health.message = conditions.Ready.message
elseif conditions.Ready ~= nil then
  health.message = conditions.Ready.message
end
return health
