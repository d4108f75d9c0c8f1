// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFedChestLedger} from "./IFedChestLedger.sol";

/// @title FedChestLedger: registry, round state machine, attestation quorum and credits of one study.
/// @notice Not upgradeable: an audit log whose rules can change is none. Every rule here has a twin in
/// tests/ledger/ledger_model.py, and both are run on the same random sequences.
contract FedChestLedger is IFedChestLedger {
    uint8 public constant REQUIRED_CHECKS = 0x0F;
    uint64 public constant ROUND_CREDITS = 1_000_000;
    bytes32 private constant COMMITMENT_DOMAIN = keccak256("fedchest/commitment/v1");

    // The coordinator is not immutable so that the deployed code equals the published artifact byte for byte.
    address public coordinator;
    bytes32 public globalModel;
    uint256 public currentRound;
    uint16 public institutionCount;

    Rules private _rules;
    mapping(uint16 institution => Institution) private _institutions;
    mapping(address wallet => uint16) private _idPlusOne;
    mapping(uint256 round => Round) private _rounds;
    mapping(uint256 round => uint16[]) private _accepted;
    mapping(uint256 round => mapping(uint16 institution => bytes32)) private _commitments;
    // Sets of institutions, 256 to a word; _drawn stays empty where every institution takes part.
    mapping(uint256 round => mapping(uint256 word => uint256)) private _drawn;
    mapping(uint256 round => mapping(uint256 word => uint256)) private _attested;

    modifier onlyCoordinator() {
        if (msg.sender != coordinator) revert NotCoordinator(msg.sender);
        _;
    }

    modifier noLiveRound() {
        Phase phase = _rounds[currentRound].phase;
        if (phase == Phase.Open || phase == Phase.Proposed) revert RoundLive(currentRound);
        _;
    }

    /// @param rules_ The study's rules; they never change.
    /// @param initialModel Hash of the model that the first round starts from.
    /// @param provenance Hash of the document that says where the initial model comes from.
    constructor(Rules memory rules_, bytes32 initialModel, bytes32 provenance) {
        if (rules_.submissionSeconds == 0 || rules_.attestationSeconds == 0 || rules_.minimumAccepted == 0) {
            revert InvalidRules();
        }
        if (rules_.cohortSize != 0 && rules_.cohortSize < rules_.minimumAccepted) revert InvalidRules();
        if (initialModel == 0) revert EmptyModel();
        coordinator = msg.sender;
        _rules = rules_;
        globalModel = initialModel;
        emit StudyCreated(msg.sender, rules_, initialModel, provenance);
    }

    // ---------------------------------------------------------------------------------------------------- registry

    /// @inheritdoc IFedChestLedger
    function registerInstitution(address wallet, uint16 weightClass, uint64 epsilonBudget)
        external
        onlyCoordinator
        noLiveRound
        returns (uint16 id)
    {
        if (wallet == address(0) || wallet == coordinator) revert InvalidWallet(wallet);
        if (_idPlusOne[wallet] != 0) revert WalletTaken(wallet, _idPlusOne[wallet] - 1);
        if (weightClass == 0) revert InvalidWeightClass();
        id = institutionCount++;
        _institutions[id] = Institution(wallet, weightClass, epsilonBudget, 0, 0);
        _idPlusOne[wallet] = id + 1;
        emit InstitutionRegistered(id, wallet, weightClass, epsilonBudget);
    }

    // ------------------------------------------------------------------------------------------------------ rounds

    /// @inheritdoc IFedChestLedger
    function openRound(bytes32 config) external onlyCoordinator noLiveRound returns (uint256 number) {
        uint16 members = _rules.cohortSize == 0 ? institutionCount : _rules.cohortSize;
        uint16 needed = _rules.cohortSize == 0 ? _rules.minimumAccepted : _rules.cohortSize;
        if (institutionCount < needed) revert TooFewInstitutions(institutionCount, needed);
        number = ++currentRound;
        Round storage r = _rounds[number];
        r.phase = Phase.Open;
        r.members = members;
        r.quorum = _quorum(members);
        r.deadline = uint64(block.timestamp) + _rules.submissionSeconds;
        r.openedBlock = uint64(block.number);
        r.baseModel = globalModel;
        r.config = config;
        uint16[] memory ids = _rules.cohortSize == 0 ? _everyone(members) : _draw(number, members);
        emit RoundOpened(number, globalModel, config, ids, r.quorum, r.deadline);
    }

    /// @inheritdoc IFedChestLedger
    function submitUpdate(
        uint256 number,
        bytes32 baseModel,
        bytes32 sealedHash,
        bytes32 plaintextHash,
        bytes32 manifestHash,
        uint16 weightClass,
        uint64 epsilon
    ) external {
        uint16 id = idOf(msg.sender);
        Round storage r = _rounds[number];
        if (r.phase != Phase.Open) revert WrongPhase(number, r.phase);
        if (block.timestamp > r.deadline) revert DeadlinePassed(r.deadline);
        if (!isMember(number, id)) revert NotMember(number, id);
        if (_commitments[number][id] != 0) revert AlreadySubmitted(number, id);
        if (baseModel != r.baseModel) revert WrongBaseModel(r.baseModel);
        _spend(id, weightClass, epsilon);
        bytes32 committed = keccak256(
            abi.encode(
                COMMITMENT_DOMAIN,
                block.chainid,
                address(this),
                number,
                msg.sender,
                baseModel,
                sealedHash,
                plaintextHash,
                manifestHash,
                weightClass,
                epsilon
            )
        );
        _commitments[number][id] = committed;
        emit UpdateSubmitted(
            number, id, committed, sealedHash, plaintextHash, manifestHash, weightClass, epsilon
        );
    }

    /// @inheritdoc IFedChestLedger
    function proposeAggregate(
        uint256 number,
        bytes32 newModel,
        uint16[] calldata accepted_,
        Refusal[] calldata refusals,
        bytes32 record
    ) external onlyCoordinator {
        Round storage r = _rounds[number];
        if (r.phase != Phase.Open) revert WrongPhase(number, r.phase);
        if (newModel == 0) revert EmptyModel();
        _checkAccepted(number, accepted_);
        _recordRefusals(number, refusals);
        _checkDisjoint(accepted_, refusals);
        r.phase = Phase.Proposed;
        r.deadline = uint64(block.timestamp) + _rules.attestationSeconds;
        r.newModel = newModel;
        r.record = record;
        _accepted[number] = accepted_;
        emit AggregateProposed(number, newModel, record, accepted_, r.deadline);
    }

    /// @inheritdoc IFedChestLedger
    function abandonRound(uint256 number, Refusal[] calldata refusals) external onlyCoordinator {
        Phase phase = _rounds[number].phase;
        if (phase != Phase.Open) revert WrongPhase(number, phase);
        _recordRefusals(number, refusals);
        _void(number, VoidCause.Abandoned);
    }

    /// @inheritdoc IFedChestLedger
    function attest(uint256 number, bytes32 recomputedModel, uint8 checks) external {
        uint16 id = idOf(msg.sender);
        Round storage r = _rounds[number];
        bool counts = r.phase == Phase.Proposed;
        bool late = number == currentRound && r.newModel != 0;
        if (!counts && !late) revert WrongPhase(number, r.phase);
        if (counts && block.timestamp > r.deadline) revert DeadlinePassed(r.deadline);
        if (!isMember(number, id)) revert NotMember(number, id);
        if (hasAttested(number, id)) revert AlreadyAttested(number, id);
        _attested[number][id >> 8] |= _bit(id);
        bool agrees = recomputedModel == r.newModel && checks == REQUIRED_CHECKS;
        emit Attested(number, id, recomputedModel, checks, agrees);
        if (counts) _count(number, agrees);
    }

    /// @inheritdoc IFedChestLedger
    function expireRound(uint256 number) external {
        Round storage r = _rounds[number];
        if (r.phase != Phase.Open && r.phase != Phase.Proposed) revert WrongPhase(number, r.phase);
        if (block.timestamp <= r.deadline) revert DeadlineNotReached(r.deadline);
        _void(number, VoidCause.Expired);
    }

    // ------------------------------------------------------------------------------------------------------- views

    /// @inheritdoc IFedChestLedger
    function rules() external view returns (Rules memory) {
        return _rules;
    }

    /// @inheritdoc IFedChestLedger
    function institution(uint16 id) external view returns (Institution memory) {
        return _institutions[id];
    }

    /// @inheritdoc IFedChestLedger
    function round(uint256 number) external view returns (Round memory) {
        return _rounds[number];
    }

    /// @inheritdoc IFedChestLedger
    function commitment(uint256 number, uint16 id) external view returns (bytes32) {
        return _commitments[number][id];
    }

    /// @inheritdoc IFedChestLedger
    function accepted(uint256 number) external view returns (uint16[] memory) {
        return _accepted[number];
    }

    /// @inheritdoc IFedChestLedger
    function idOf(address wallet) public view returns (uint16) {
        uint16 idPlusOne = _idPlusOne[wallet];
        if (idPlusOne == 0) revert UnknownInstitution(wallet);
        return idPlusOne - 1;
    }

    /// @inheritdoc IFedChestLedger
    function isMember(uint256 number, uint16 id) public view returns (bool) {
        if (_rules.cohortSize == 0) return id < _rounds[number].members;
        return _drawn[number][id >> 8] & _bit(id) != 0;
    }

    /// @inheritdoc IFedChestLedger
    function hasAttested(uint256 number, uint16 id) public view returns (bool) {
        return _attested[number][id >> 8] & _bit(id) != 0;
    }

    // --------------------------------------------------------------------------------------------------- internals

    /// @dev Floyd's sampling without replacement: one hash and one bit for each that is drawn, however many there are
    /// to draw from. Every subset is equally likely up to the modulo's bias, below 2^-239.
    function _draw(uint256 number, uint16 size) private returns (uint16[] memory ids) {
        bytes32 seed = keccak256(abi.encode(blockhash(block.number - 1), number));
        mapping(uint256 => uint256) storage drawn = _drawn[number];
        ids = new uint16[](size);
        uint16 first = institutionCount - size;
        for (uint16 i = 0; i < size; ++i) {
            uint16 last = first + i;
            uint16 pick = uint16(uint256(keccak256(abi.encode(seed, i))) % (uint256(last) + 1));
            if (drawn[pick >> 8] & _bit(pick) != 0) pick = last;
            drawn[pick >> 8] |= _bit(pick);
            ids[i] = pick;
        }
    }

    function _spend(uint16 id, uint16 weightClass, uint64 epsilon) private {
        Institution storage member = _institutions[id];
        if (weightClass != member.weightClass) revert WrongWeightClass(member.weightClass);
        if (epsilon > member.epsilonBudget) revert OverBudget(epsilon, member.epsilonBudget);
        if (epsilon < member.epsilonSpent) revert SpendDecreased(epsilon, member.epsilonSpent);
        member.epsilonSpent = epsilon;
    }

    function _checkAccepted(uint256 number, uint16[] calldata ids) private view {
        if (ids.length < _rules.minimumAccepted) revert TooFewAccepted(ids.length, _rules.minimumAccepted);
        for (uint256 i = 0; i < ids.length; ++i) {
            if (i != 0 && ids[i] <= ids[i - 1]) revert NotIncreasing(ids[i]);
            // Only members have commitments.
            if (_commitments[number][ids[i]] == 0) revert NotSubmitted(number, ids[i]);
        }
    }

    function _recordRefusals(uint256 number, Refusal[] calldata refusals) private {
        for (uint256 i = 0; i < refusals.length; ++i) {
            uint16 id = refusals[i].institution;
            if (i != 0 && id <= refusals[i - 1].institution) revert NotIncreasing(id);
            if (!isMember(number, id)) revert NotMember(number, id);
            if (refusals[i].reason == 0) revert MissingReason(id);
            emit UpdateRefused(number, id, refusals[i].reason);
        }
    }

    /// @dev Both lists are in increasing order, so one walk along both suffices.
    function _checkDisjoint(uint16[] calldata ids, Refusal[] calldata refusals) private pure {
        uint256 next = 0;
        for (uint256 i = 0; i < refusals.length; ++i) {
            uint16 id = refusals[i].institution;
            while (next < ids.length && ids[next] < id) ++next;
            if (next < ids.length && ids[next] == id) revert AcceptedAndRefused(id);
        }
    }

    function _count(uint256 number, bool agrees) private {
        Round storage r = _rounds[number];
        if (agrees) {
            if (++r.agreeing == r.quorum) _finalize(number);
        } else if (++r.disagreeing > r.members - r.quorum) {
            _void(number, VoidCause.Rejected);
        }
    }

    function _finalize(uint256 number) private {
        Round storage r = _rounds[number];
        r.phase = Phase.Finalized;
        globalModel = r.newModel;
        emit RoundFinalized(number, r.newModel);
        uint16[] memory ids = _accepted[number];
        uint256 total = 0;
        for (uint256 i = 0; i < ids.length; ++i) total += _institutions[ids[i]].weightClass;
        for (uint256 i = 0; i < ids.length; ++i) {
            Institution storage member = _institutions[ids[i]];
            uint64 amount = uint64(uint256(ROUND_CREDITS) * member.weightClass / total);
            member.credits += amount;
            emit Credited(number, ids[i], amount);
        }
    }

    function _void(uint256 number, VoidCause cause) private {
        _rounds[number].phase = Phase.Void;
        emit RoundVoided(number, cause);
    }

    function _quorum(uint16 members) private view returns (uint16) {
        return uint16(_rules.crashOnly ? uint256(members) / 2 + 1 : 2 * uint256(members) / 3 + 1);
    }

    function _everyone(uint16 members) private pure returns (uint16[] memory ids) {
        ids = new uint16[](members);
        for (uint16 i = 0; i < members; ++i) ids[i] = i;
    }

    function _bit(uint16 id) private pure returns (uint256) {
        return 1 << (id & 0xFF);
    }
}
