"""Mean-field dynamics of shallow nets: particles, densities, transport (mdl2022)."""

__all__: list[str] = []
