// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Address} from "@openzeppelin/contracts/utils/Address.sol";
import {Pausable} from "@openzeppelin/contracts/utils/Pausable.sol";

import {IInstitutions} from "./IInstitutions.sol";

/// @title Registry of institutions and decisions by their quorum.
/// @notice The contract holds the administrator's role itself: what only that role may do is done by a decision.
abstract contract Institutions is IInstitutions, AccessControl, Pausable {
    bytes32 public constant COORDINATOR = keccak256("fedchest/coordinator");

    uint256 private constant MOST_WEIGHT = 1 << 29;

    uint16 public institutionCount;
    uint32 public totalWeight;
    bytes32 public roster;

    mapping(uint16 institution => Institution) internal _institutions;
    mapping(address wallet => uint16) private _idPlusOne;
    /// @dev The last round that was open to a wallet before it was rotated.
    mapping(address wallet => uint256) internal _lastRoundOf;
    /// @dev In no particular order; `_place` is each one's place, plus one.
    uint16[] internal _active;
    mapping(uint16 institution => uint256) private _place;
    mapping(bytes32 decision => uint16[]) private _supporters;
    mapping(bytes32 action => uint256) private _taken;

    constructor() {
        _grantRole(DEFAULT_ADMIN_ROLE, address(this));
        _grantRole(COORDINATOR, msg.sender);
    }

    // -------------------------------------------------------------------------------------------------- founding

    /// @inheritdoc IInstitutions
    function registerFounder(address wallet, uint16 weightClass, uint64 epsilonBudget)
        external
        onlyRole(COORDINATOR)
        returns (uint16)
    {
        if (_founded() || institutionCount == _founders()) revert AlreadyFounded();
        return _register(wallet, weightClass, epsilonBudget);
    }

    // ------------------------------------------------------------------------------------------------- decisions

    /// @inheritdoc IInstitutions
    function support(bytes calldata action) external {
        uint16 id = _activeId(msg.sender);
        if (!_founded() && (!_founds(action) || institutionCount != _founders())) revert NotFounded();
        bytes32 decision = decisionOf(action);
        uint16[] storage ids = _supporters[decision];
        if (_placeIn(ids, id) != ids.length) revert AlreadySupported(decision, id);
        ids.push(id);
        emit DecisionSupported(decision, id, action);
        if (_activeAmong(ids) < _quorum(activeCount())) return;
        ++_taken[keccak256(action)];
        emit DecisionTaken(decision);
        Address.functionCall(address(this), action);
    }

    /// @inheritdoc IInstitutions
    function withdraw(bytes calldata action) external {
        uint16 id = _activeId(msg.sender);
        bytes32 decision = decisionOf(action);
        uint16[] storage ids = _supporters[decision];
        uint256 place = _placeIn(ids, id);
        if (place == ids.length) revert NotSupported(decision, id);
        ids[place] = ids[ids.length - 1];
        ids.pop();
        emit SupportWithdrawn(decision, id);
    }

    /// @inheritdoc IInstitutions
    function registerInstitution(address wallet, uint16 weightClass, uint64 epsilonBudget)
        external
        onlyRole(DEFAULT_ADMIN_ROLE)
        returns (uint16)
    {
        return _register(wallet, weightClass, epsilonBudget);
    }

    /// @inheritdoc IInstitutions
    function suspendInstitution(uint16 id) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _require(id, Status.Active);
        _deactivate(id);
        _institutions[id].status = Status.Suspended;
        emit InstitutionSuspended(id);
    }

    /// @inheritdoc IInstitutions
    function reinstateInstitution(uint16 id) external onlyRole(DEFAULT_ADMIN_ROLE) {
        _require(id, Status.Suspended);
        _activate(id);
        emit InstitutionReinstated(id);
    }

    /// @inheritdoc IInstitutions
    function revokeInstitution(uint16 id) external onlyRole(DEFAULT_ADMIN_ROLE) {
        Status status = _institutions[id].status;
        if (status == Status.Active) _deactivate(id);
        else _require(id, Status.Suspended);
        _institutions[id].status = Status.Revoked;
        emit InstitutionRevoked(id);
    }

    /// @inheritdoc IInstitutions
    function rotateKey(uint16 id, address newWallet) external onlyRole(DEFAULT_ADMIN_ROLE) {
        if (id >= institutionCount) revert NotActive(id, Status.None);
        _rotate(id, newWallet);
    }

    /// @inheritdoc IInstitutions
    function rotateOwnKey(address newWallet) external {
        _rotate(_activeId(msg.sender), newWallet);
    }

    /// @inheritdoc IInstitutions
    function pause() external onlyRole(DEFAULT_ADMIN_ROLE) {
        _pause();
    }

    // ----------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IInstitutions
    function institution(uint16 id) external view returns (Institution memory) {
        return _institutions[id];
    }

    /// @inheritdoc IInstitutions
    function supporters(bytes32 decision) external view returns (uint16[] memory) {
        return _supporters[decision];
    }

    /// @inheritdoc IInstitutions
    function activeCount() public view returns (uint16) {
        return uint16(_active.length);
    }

    /// @inheritdoc IInstitutions
    function idOf(address wallet) public view returns (uint16) {
        uint16 idPlusOne = _idPlusOne[wallet];
        if (idPlusOne == 0) revert UnknownInstitution(wallet);
        return idPlusOne - 1;
    }

    /// @inheritdoc IInstitutions
    function decisionOf(bytes calldata action) public view returns (bytes32) {
        bytes32 hash = keccak256(action);
        return keccak256(abi.encode(hash, _taken[hash]));
    }

    // ------------------------------------------------------------------------------------------------- internals

    /// @dev Whether the first model is approved.
    function _founded() internal view virtual returns (bool);

    /// @dev Whether the action is to approve the first model.
    function _founds(bytes calldata action) internal view virtual returns (bool);

    /// @dev How many founders the rules name.
    function _founders() internal view virtual returns (uint16);

    /// @dev The number of the last round that was opened.
    function _lastRound() internal view virtual returns (uint256);

    /// @dev How many of `members` are a quorum.
    function _quorum(uint16 members) internal view virtual returns (uint16);

    /// @dev The largest budget that an institution may have.
    function _largestBudget() internal view virtual returns (uint64);

    /// @dev The active institution whose present wallet this is.
    function _activeId(address wallet) internal view returns (uint16 id) {
        id = idOf(wallet);
        if (_institutions[id].wallet != wallet) revert RetiredKey(wallet, id);
        _require(id, Status.Active);
    }

    /// @dev That `wallet` is the present one of the active institution `id`; the way round the registry is for the error only.
    function _requireOwn(uint16 id, address wallet) internal view {
        Institution storage own = _institutions[id];
        if (own.wallet == wallet && own.status == Status.Active) return;
        _activeId(wallet);
        revert WrongSigner(wallet, id);
    }

    /// @dev A coordinator decides alone about rounds, so it may not also vote on them. The administrator is the contract
    /// itself, and nobody and nothing else ever: what only it may do stays by decision.
    function _grantRole(bytes32 role, address account) internal override returns (bool) {
        if (role == DEFAULT_ADMIN_ROLE && account != address(this)) revert AdministratorFixed();
        if (_idPlusOne[account] != 0) revert InvalidWallet(account);
        return super._grantRole(role, account);
    }

    function _revokeRole(bytes32 role, address account) internal override returns (bool) {
        if (role == DEFAULT_ADMIN_ROLE) revert AdministratorFixed();
        return super._revokeRole(role, account);
    }

    function _register(address wallet, uint16 weightClass, uint64 epsilonBudget) private returns (uint16 id) {
        _requireFree(wallet);
        if (weightClass == 0) revert InvalidWeightClass();
        if (epsilonBudget > _largestBudget()) revert BudgetTooLarge(epsilonBudget, _largestBudget());
        totalWeight += weightClass;
        if (totalWeight > MOST_WEIGHT) revert TooHeavy(totalWeight, MOST_WEIGHT);
        id = institutionCount++;
        _institutions[id] = Institution(wallet, weightClass, epsilonBudget, 0, Status.Active, 0, 0);
        _activate(id);
        _idPlusOne[wallet] = id + 1;
        roster = keccak256(abi.encode(roster, wallet, weightClass, epsilonBudget));
        emit InstitutionRegistered(id, wallet, weightClass, epsilonBudget);
    }

    function _rotate(uint16 id, address newWallet) private {
        _requireFree(newWallet);
        address oldWallet = _institutions[id].wallet;
        _lastRoundOf[oldWallet] = _lastRound();
        _institutions[id].wallet = newWallet;
        _idPlusOne[newWallet] = id + 1;
        emit KeyRotated(id, oldWallet, newWallet);
    }

    function _activate(uint16 id) private {
        _institutions[id].status = Status.Active;
        _active.push(id);
        _place[id] = _active.length;
    }

    /// @dev The last active institution stays: without one nobody could decide anything more.
    function _deactivate(uint16 id) private {
        if (_active.length == 1) revert LastInstitution(id);
        uint16 last = _active[_active.length - 1];
        _active[_place[id] - 1] = last;
        _place[last] = _place[id];
        _active.pop();
        delete _place[id];
    }

    function _requireFree(address wallet) private view {
        if (wallet == address(0) || hasRole(COORDINATOR, wallet)) revert InvalidWallet(wallet);
        if (_idPlusOne[wallet] != 0) revert WalletTaken(wallet, _idPlusOne[wallet] - 1);
    }

    function _require(uint16 id, Status status) private view {
        if (_institutions[id].status != status) revert NotActive(id, _institutions[id].status);
    }

    /// @dev Support counts as long as the supporter is active.
    function _activeAmong(uint16[] storage ids) private view returns (uint16 count) {
        for (uint256 i = 0; i < ids.length; ++i) {
            if (_place[ids[i]] != 0) ++count;
        }
    }

    function _placeIn(uint16[] storage ids, uint16 id) private view returns (uint256 place) {
        while (place < ids.length && ids[place] != id) ++place;
    }
}
